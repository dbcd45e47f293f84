"""Packages of the wheel: fedcore, and its suite in ``benchmark/`` under a name of its own.

The rest of the project's data stand in pyproject.toml, which can find packages or map folders to
names, not both.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["fedcore", "fedcore.*"]),
        "fedcore_benchmark",
        "fedcore_benchmark.peers",
    ],
    package_dir={"fedcore_benchmark": "benchmark"},
)
