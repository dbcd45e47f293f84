"""The places that name dependencies agree, and the core needs no Flower."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent


def read_project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read_requirements() -> dict[str, list[Requirement]]:
    """Requirements by group; the key "" holds those that are always installed."""
    project = read_project()
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {group: [Requirement(line) for line in lines] for group, lines in groups.items()}


def read_pins() -> dict[str, Version]:
    pins: dict[str, Version] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not (text := line.partition("#")[0].strip()):
            continue
        name, separator, version = text.partition("==")
        assert separator, f"constraints.txt: {text!r} is not a pin of the form name==version"
        key = canonicalize_name(name)
        assert key not in pins, f"constraints.txt pins {key} twice"
        pins[key] = Version(version)
    return pins


def read_environment() -> tuple[dict[str, Any], list[str], list[str]]:
    """environment.yml: all of it, its conda packages, and its lines for pip."""
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    packages = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry for entry in content["dependencies"] if isinstance(entry, dict)]
    return content, packages, pip["pip"]


def read_tox() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    return parser


REQUIREMENTS = [
    pytest.param(requirement, id=f"{group or 'core'}-{requirement.name}")
    for group, requirements in read_requirements().items()
    for requirement in requirements
]


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_requirement_is_bounded_below_and_pinned(requirement: Requirement) -> None:
    assert {spec.operator for spec in requirement.specifier} & {">=", "=="}, "no lower bound"
    pin = read_pins().get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} has no pin in constraints.txt"
    assert pin in requirement.specifier, f"{requirement.name}=={pin} is outside {requirement}"


def test_no_requirement_stands_twice() -> None:
    names = [canonicalize_name(r.name) for rs in read_requirements().values() for r in rs]
    assert len(names) == len(set(names))


def test_core_does_not_depend_on_flower() -> None:
    groups = read_requirements()
    assert not {"flwr", "ray"} & {r.name for r in groups[""]}
    assert [r.name for r in groups["flower"]] == ["flwr"]


def test_conda_installs_this_project_with_the_pins() -> None:
    content, packages, pip_lines = read_environment()
    assert content["name"] == "federated-learning"
    assert set(content["channels"]) <= {"conda-forge", "nodefaults"}
    assert "pip" in packages
    assert pip_lines[0] == "-c constraints.txt"
    (install,) = pip_lines[1:]
    match = re.fullmatch(r"-e \.\[([a-z,]+)\]", install)
    assert match, f"environment.yml installs {install!r}, not this project with extras"
    assert set(match[1].split(",")) == set(read_requirements()) - {""}


def test_conda_leaves_packages_to_pyproject() -> None:
    _, packages, _ = read_environment()
    assert {re.split(r"[<>=! ]", package)[0] for package in packages} == {"python", "pip"}


def test_python_versions_agree() -> None:
    project = read_project()
    _, packages, _ = read_environment()
    (conda,) = [p.removeprefix("python") for p in packages if p.startswith("python")]
    required = SpecifierSet(project["requires-python"])
    classified = {c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c}
    minors = [f"3.{minor}" for minor in range(5, 30)]
    allowed_by_conda = {minor for minor in minors if Version(minor) in SpecifierSet(conda)}
    assert allowed_by_conda == classified, "conda takes exactly the versions that are claimed"
    first_required = next(minor for minor in minors if Version(minor) in required)
    assert first_required == min(classified, key=Version), "the lower bounds differ"
    assert all(Version(minor) in required for minor in classified)


def test_tox_installs_with_the_pins() -> None:
    tox = read_tox()
    base = tox["testenv"]
    assert base["package"] == "editable"
    assert base["constraints"] == "constraints.txt"
    assert base.getboolean("constrain_package_deps"), "the pins would not reach fedcore's own needs"
    for name in tox.sections():
        assert name == "testenv" or "constraints" not in tox[name], f"{name} overrides the pins"


def test_tox_names_no_version_and_no_stranger() -> None:
    tox = read_tox()
    groups = read_requirements()
    known = {requirement.name for requirements in groups.values() for requirement in requirements}
    for name in tox.sections():
        assert set(tox[name].get("deps", "").split()) <= known, f"deps of {name}"
        assert set(tox[name].get("extras", "").split()) <= set(groups), f"extras of {name}"


def test_tox_environments_are_described_and_pass_arguments_on() -> None:
    tox = read_tox()
    names = {name.removeprefix("testenv:") for name in tox.sections() if ":" in name}
    assert names == {"tests", "benchmark", "flower", "imports", "lint", "native", "types"}
    for name in names:
        assert tox[f"testenv:{name}"]["description"]
        assert "{posargs" in tox[f"testenv:{name}"]["commands"]


def test_pytest_is_configured_in_one_place() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert "pytest" in tool
    assert not {"pytest", "tool:pytest"} & set(read_tox().sections())
    assert not [n for n in ("pytest.ini", ".pytest.ini", "pytest.toml") if (ROOT / n).exists()]


def test_versions_agree() -> None:
    """Flower reads a version from pyproject.toml only, and fedcore runs uninstalled, too."""
    from fedcore import __version__

    assert read_project()["version"] == __version__
    assert "dynamic" not in read_project()


def test_installed_version_is_the_stated_one() -> None:
    try:
        installed = metadata.version("fedcore-bench")
    except metadata.PackageNotFoundError:
        pytest.skip("fedcore-bench is not installed, only on the path")
    from fedcore import __version__

    assert installed == __version__


def test_core_imports_without_flower() -> None:
    code = (
        "import sys\n"
        "sys.modules.update(flwr=None, ray=None)\n"
        "from fedcore import Scenario, run\n"
        "import fedcore.cli, fedcore.harness.plugin\n"
        "assert callable(run) and isinstance(Scenario, type)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_every_package() -> None:
    from setuptools import find_packages

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = pyproject["tool"]["setuptools"]["packages"]
    own = find_packages(str(ROOT), include=["fedcore", "fedcore.*"])
    suite = find_packages(str(ROOT), include=["benchmark", "benchmark.*"])
    renamed = [re.sub("^benchmark", "fedcore_benchmark", name) for name in suite]
    assert sorted(listed) == sorted([*own, *renamed])
