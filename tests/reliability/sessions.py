"""Sessions of pytest on a small suite, in processes of their own that can be killed and counted."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_MARK = "FEDCORE_RELIABILITY"

#: 3 cells, each with 2 seeds and a clean twin, and a control.
SUITE = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.cells import Cell

CLEAN = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=4, fraction_train=1.0, rounds={rounds},
    optimizer="sgd", lr=0.1,
)
ATTACKED = dict(attack="labelflip", malicious_fraction=0.25, poison_ratio=1.0)

def cells(options):
    for name in ("fednova", "median", "scaffold"):
        scenario = CLEAN.but(strategy=name, **ATTACKED)
        yield Cell(name, scenario, 2)

@pytest.mark.cells(function=lambda options: cells(options))
def test_robustness(outcome):
    outcome.check()
"""


@dataclass
class Session:
    """A session that has begun. ``mark`` is in the environment of each process that it starts."""

    process: subprocess.Popen[bytes]
    mark: str
    output: Path

    def others(self) -> dict[int, str]:
        """The processes of this session but the first, by id: what they are."""
        return {pid: what for pid, what in marked(self.mark).items() if pid != self.process.pid}

    def workers(self) -> list[int]:
        """The worker processes: those that the server has forked."""
        servers = {pid for pid, what in self.others().items() if what == "forkserver"}
        return [pid for pid in self.others() if _parent(pid) in servers]

    def text(self) -> str:
        """What the session has printed."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """Kill what is left of this session."""
        for pid in marked(self.mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def write_suite(folder: Path, rounds: int = 3) -> None:
    """Put the suite into ``folder``."""
    (folder / "test_suite.py").write_text(SUITE.replace("{rounds}", str(rounds)))


def begin(
    folder: Path, results: str, *arguments: str, jobs: int = 2, terminal: int | None = None
) -> Session:
    """Start pytest on the suite in ``folder``, in a process group of its own.

    ``terminal`` is a pseudo-terminal to control it; without one it has none.
    """
    mark = uuid.uuid4().hex
    # without kernels: what other programs do to the cache of compiled ones is not looked at here
    own = {_MARK: mark, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "FEDCORE_NATIVE": "0"}
    environment = {**os.environ, **own}
    environment.pop("GITHUB_STEP_SUMMARY", None)
    plugins = ["-p", "fedcore.harness.plugin", "-p", "no:cacheprovider", "-p", "no:benchmark"]
    given = ["--device=cpu", f"--jobs={jobs}", f"--results={results}"]
    output = folder / f"{results}-{mark[:6]}.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *plugins, *given, *arguments],
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            start_new_session=True,
            preexec_fn=_begun_anew if terminal is None else _at_a_terminal,
        )
    return Session(process, mark, output)


def _begun_anew() -> None:
    """Take back what nohup or a shell may have set: signals that are ignored."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _at_a_terminal() -> None:
    """Make standard input the terminal that controls this process, too."""
    _begun_anew()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def marked(mark: str) -> dict[int, str]:
    """The living processes with ``mark`` in their environment, by id: what they are."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it has ended, or is another user's
            continue
        if f"{_MARK}={mark}".encode() in environment and state != "Z":
            names = (b"forkserver", b"resource_tracker", b"pytest")
            found[int(entry.name)] = next(
                (name.decode() for name in names if name in command), command.decode()
            )
    servers = {pid for pid, what in found.items() if what == "forkserver"}
    return {
        pid: "worker" if what == "forkserver" and _parent(pid) in servers else what
        for pid, what in found.items()
    }


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def wait_gone(session: Session, seconds: float) -> dict[int, str]:
    """What is left of a session ``seconds`` after now; returns as soon as that is nothing."""
    deadline = time.monotonic() + seconds
    while (left := marked(session.mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def results(folder: Path, name: str) -> Any:
    """What a session has reported of its cells, without times and places."""
    return _timeless(json.loads((folder / name / "results.json").read_text())["cells"])


def records(folder: Path, name: str) -> dict[str, Any]:
    """The stored records by file name, without their times."""
    paths = sorted((folder / name / "records").rglob("*.json"))
    return {path.name: _timeless(json.loads(path.read_text())) for path in paths}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        times = ("timings", "seconds", "checksum", "date")
        return {key: _timeless(part) for key, part in value.items() if key not in times}
    if isinstance(value, list):
        return [_timeless(part) for part in value]
    return value
