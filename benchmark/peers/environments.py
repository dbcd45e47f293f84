"""A virtual environment for each system, made by pip in the work directory and kept."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .systems import ROOT, System

_VERSIONS = """
import importlib.metadata as m, json
print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))
"""


class InstallError(Exception):
    """An environment that pip could not make."""


def python_of(system: System, work: Path) -> Path:
    """The Python of ``system``'s environment, which is made unless it is there already.

    Raises InstallError with pip's last words.
    """
    folder = work / "envs" / system.environment
    python, done = folder / "bin" / "python", folder / "requirements.json"
    wanted = json.dumps([*system.requirements, _torch_pins()])
    if not (done.exists() and done.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        pins = work / "torch-pins.txt"
        pins.parent.mkdir(parents=True, exist_ok=True)
        pins.write_text(_torch_pins())
        # peers choose their other versions themselves; fedcore has pins of its own
        own = any(requirement.startswith("-e") for requirement in system.requirements)
        constraints = ROOT / "constraints.txt" if own else pins
        _run([sys.executable, "-m", "venv", str(folder)], system)
        words = [word for requirement in system.requirements for word in requirement.split(" ", 1)]
        _run([str(python), "-m", "pip", "install", "-q", "-c", str(constraints), *words], system)
        done.write_text(wanted)
    return python


def versions_of(system: System, python: Path) -> dict[str, str]:
    """Versions of what ``system`` asks for, and of torch and numpy."""
    out = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True)
    installed: dict[str, str] = json.loads(out.stdout)
    asked = {re.split(r"[\[=<> ]", r)[0].lower() for r in system.requirements}
    names = sorted(asked | {"torch", "numpy", "ray"})
    return {name: installed[name] for name in names if name in installed}


def _torch_pins() -> str:
    """The lines of constraints.txt for torch and torchvision: one torch for all systems."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return "\n".join(line for line in lines if re.match(r"torch(vision)?==", line)) + "\n"


def _run(command: list[str], system: System) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise InstallError(f"{system.environment}: {words[-1]}")
