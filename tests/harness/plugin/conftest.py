"""A project of somebody else: fedcore is installed beside other plugins, as pip would have it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OURS = {"fedcore.harness.plugin": "fedcore.harness.plugin"}


class Project:
    """A folder and pytest on it, in a process of its own that finds ``site``'s plugins."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester, self.path = pytester, pytester.path
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

    def run(self, *arguments: str, folder: Path | None = None) -> pytest.RunResult:
        """Run pytest with ``arguments`` in ``folder``, the project's own by default."""
        if folder is not None:
            os.chdir(folder)  # pytester goes back
        command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments)
        return self.pytester.run(*command)

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
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, monkeypatch)


@pytest.fixture
def installed(project: Project) -> Project:
    """The project in an environment in which pip has installed fedcore."""
    project.install("fedcore_bench", OURS)
    return project
