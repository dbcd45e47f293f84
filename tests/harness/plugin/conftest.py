"""A project of somebody else: fedcore is installed beside other plugins, as pip would have it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.forked_python import ForkedPython

ROOT = Path(__file__).resolve().parents[3]
OURS = {"fedcore.harness.plugin": "fedcore.harness.plugin"}


class Project:
    """A folder and pytest on it, in a process of its own that finds ``site``'s plugins."""

    def __init__(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, python: ForkedPython
    ) -> None:
        self.pytester, self.path, self.python = pytester, pytester.path, python
        self.site = pytester.mkdir("site")
        paths = [str(self.site), str(ROOT), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
        monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        monkeypatch.delenv("FEDCORE_DATA", raising=False)
        # pytest-benchmark warns where it believes to be in a worker of pytest-xdist
        monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def install(self, distribution: str, plugins: Mapping[str, str], source: str = "") -> None:
        """Put a distribution into ``site`` with pytest11 entry points ``plugins``.

        ``source`` is the module of that name.
        """
        info = self.site / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        lines = [f"{name} = {module}\n" for name, module in plugins.items()]
        (info / "entry_points.txt").write_text("[pytest11]\n" + "".join(lines))
        if source:
            (self.site / f"{distribution}.py").write_text(source)

    def write(self, **files: str) -> None:
        """Write modules by name."""
        for name, content in files.items():
            (self.path / f"{name}.py").write_text(content)

    def run(
        self, *arguments: str, folder: Path | None = None, anew: bool = False
    ) -> pytest.RunResult:
        """Run pytest with ``arguments`` in ``folder``, the project's own by default.

        In a fork of a process that has imported torch, or in one that is started ``anew``.
        """
        if folder is not None:
            os.chdir(folder)  # pytester goes back
        given = ("-p", "no:cacheprovider", *arguments)
        if anew:
            return self.pytester.run(sys.executable, "-m", "pytest", *given)
        begin = time.monotonic()
        paths = os.pathsep.join([os.getcwd(), os.environ["PYTHONPATH"]])  # as pytester has it
        environment = {**os.environ, "PYTHONPATH": paths}
        status, out, err = self.python.run("pytest", given, environment, self.pytester.path.parent)
        sys.stdout.write(out)  # shown where the test fails
        sys.stderr.write(err)
        lines = out.splitlines(), err.splitlines()
        return pytest.RunResult(status, *lines, time.monotonic() - begin)

    @staticmethod
    def text(result: pytest.RunResult) -> str:
        return result.stdout.str() + result.stderr.str()

    @staticmethod
    def verdicts(result: pytest.RunResult) -> dict[str, str]:
        """The last column of the table of cells, by strategy and attack."""
        found = re.findall(
            r"^(\S+) +iid +(\S+) .*?(pass|FAIL|no limit|unsure|VOID|ERROR)$",
            Project.text(result),
            re.MULTILINE,
        )
        return {f"{strategy} {attack}": verdict for strategy, attack, verdict in found}


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forked_python: ForkedPython
) -> Project:
    return Project(pytester, monkeypatch, forked_python)


@pytest.fixture
def installed(project: Project) -> Project:
    """The project in an environment in which pip has installed fedcore."""
    project.install("fedcore_bench", OURS)
    return project
