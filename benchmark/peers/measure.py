"""One run of a system: wall time from start to end, memory of its process tree, its own report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

INTERVAL = 0.05  # seconds between two looks at the memory
SHARE = 0.05  # of one core that the looks may take at most; they get rarer where trees are large


@dataclass(frozen=True)
class Result:
    """What a run showed; ``error`` is None unless it failed, and then nothing else counts.

    ``total``: seconds from start to end of the process; ``rounds``: seconds of each, as the system
    reports them; ``memory``: peak of the sum of proportional set sizes over the tree, in bytes, in
    ``samples`` looks.
    """

    total: float
    memory: int
    samples: int
    rounds: tuple[float, ...] = ()
    steps: int = 0
    digest: str = ""
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def measure(command: list[str], env: dict[str, str], cwd: Path, limit: float = 300.0) -> Result:
    """Run ``command`` to its end, or for ``limit`` seconds, and end what it left behind."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, env=env, cwd=cwd, stdout=out, stderr=err, start_new_session=True
        )
        peak = samples = 0
        seen: set[int] = set()
        while process.poll() is None and time.perf_counter() - begun < limit:
            looked = time.perf_counter()
            tree = process_tree(process.pid)
            seen |= tree
            memory = sum(map(proportional_set_size, tree))
            peak, samples = max(peak, memory), samples + 1
            spent = time.perf_counter() - looked
            wait = max(INTERVAL - spent, spent * (1 / SHARE - 1))
            try:
                process.wait(min(wait, max(0.0, begun + limit - time.perf_counter())))
            except subprocess.TimeoutExpired:
                continue
        total = time.perf_counter() - begun
        seen |= process_tree(process.pid)
        late = process.poll() is None
        _end(process, seen)
        for file in (out, err):
            file.seek(0)
        text, errors = (file.read().decode(errors="replace") for file in (out, err))
    if late:
        return Result(total, peak, samples, error=f"not finished after {limit:.0f} s")
    if process.returncode:
        return Result(total, peak, samples, error=_last_words(process.returncode, errors))
    try:
        said = json.loads(_json_line(text))
        rounds = tuple(float(lap) for lap in said["rounds"])
        return Result(total, peak, samples, rounds, int(said["steps"]), str(said["digest"]))
    except (ValueError, KeyError, TypeError) as error:
        return Result(total, peak, samples, error=f"no report in its output ({error})")


def process_tree(pid: int) -> set[int]:
    """``pid``, its descendants, and the processes of its session whose parents have ended."""
    parents: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            parents[int(entry.name)] = (int(fields[1]), int(fields[3]))
    tree = {p for p, (_, session) in parents.items() if session == pid} | {pid} & set(parents)
    while more := {p for p, (parent, _) in parents.items() if parent in tree} - tree:
        tree |= more
    return tree


def proportional_set_size(pid: int) -> int:
    """Bytes of memory of ``pid``, shared pages divided by who shares them; 0 if it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0


def _end(process: subprocess.Popen[bytes], seen: set[int]) -> None:
    """End the process and what is left of its tree, by pid."""
    left = {pid for pid in seen if os.path.exists(f"/proc/{pid}")} - {process.pid}
    if process.poll() is None:
        left |= process_tree(process.pid)
    for pid in left | ({process.pid} if process.poll() is None else set()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def _json_line(text: str) -> str:
    """The last line that is a JSON object; libraries print around it."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError("no JSON line")
    return lines[-1]


def _last_words(status: int, errors: str) -> str:
    """The last exception with a message, as launchers print theirs after it, or the last line."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    raised = [
        line for line in lines if re.match(r"(\[rank\d+\]: ?)?[\w.]+(Error|Exception): \S", line)
    ]
    told = (raised or lines or ["no message"])[-1]
    return f"exit status {status}: {told[:200]}"
