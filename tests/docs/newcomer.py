"""A newcomer's environment: a venv that has the wheel of fedcore, and what it needs, only.

torch and the like are those of the running environment, whose own fedcore stays hidden: a line of
a .pth file adds a folder to the path without the .pth files in it, such as an editable install's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("fedcore", "benchmark", "pyproject.toml", "README.md", "LICENSE")
#: As pip writes it: worker processes import it under another name than __main__.
_PYTEST = """#!{python}
import sys
from {module} import {name}
if __name__ == "__main__":
    sys.exit({name}())
"""
#: pip of the running environment, at work in the other one.
_PIP = '#!/bin/sh\nexec "{outer}" -m pip --python "{python}" "$@"\n'
#: Settings of this session that are none of a newcomer's.
_OURS = ("PYTHONPATH", "PYTEST_", "FEDCORE_", "GITHUB_STEP_SUMMARY", "COV_", "TOX_", "PIP_")
_OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the value of this one the other way round
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}


class Newcomer:
    """An environment in ``folder``, with the wheels in ``installed``, and its commands."""

    def __init__(self, folder: Path, *installed: Path) -> None:
        self.folder = folder
        venv.EnvBuilder(symlinks=True).create(folder / "venv")
        self.bin = folder / "venv" / "bin"
        self.python = self.bin / "python"
        self.site = Path(
            sysconfig.get_path("purelib", "posix_prefix", {"base": str(folder / "venv")})
        )
        outer = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.site / "outer.pth").write_text("".join(f"{place}\n" for place in sorted(outer)))
        (point,) = metadata.entry_points(group="console_scripts", name="pytest")
        self._command(
            "pytest", _PYTEST.format(python=self.python, module=point.module, name=point.attr)
        )
        self._command("pip", _PIP.format(outer=sys.executable, python=self.python))
        for wheel in installed:
            self.install(wheel)

    def _command(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def install(self, what: Path) -> None:
        """Install a wheel, or the project in a folder, in place of an older one."""
        self.require("pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(what))

    def uninstall(self, distribution: str) -> None:
        """Remove an installed distribution."""
        self.require("pip", "uninstall", "--quiet", "--yes", distribution)

    def output(self, code: str) -> str:
        """What the Python ``code`` prints in this environment."""
        return self.require(str(self.python), "-c", code).strip()

    def require(self, *command: str) -> str:
        """What a ``command`` prints, which must succeed."""
        done = self.run(command, self.folder)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run(
        self, command: str | Sequence[str], folder: Path, timeout: float = 400
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` in ``folder``; a text is a line for bash. stderr joins stdout."""
        return subprocess.run(
            ["bash", "-c", command] if isinstance(command, str) else list(command),
            cwd=folder,
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def _variables(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
        path = os.pathsep.join((str(self.bin), kept.get("PATH", "")))
        plain = {"COLUMNS": "120", "NO_COLOR": "1"}
        return {**kept, **plain, **_OFFLINE, "PATH": path, "VIRTUAL_ENV": str(self.bin.parent)}


def fedcore_wheel(folder: Path) -> Path:
    """The wheel of a copy of this repository, built in ``folder``."""
    source, made = folder / "source", folder / "made"
    source.mkdir()
    unpacked = shutil.ignore_patterns("__pycache__", ".fedcore", ".pytest_cache")
    for name in _SOURCES:
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, source / name, ignore=unpacked)
        else:
            shutil.copy(place, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(made), "."]
    variables = {**os.environ, **_OFFLINE}
    done = subprocess.run(
        command, cwd=source, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = made.glob("*.whl")
    return wheel
