"""Kill sessions and workers at moments drawn at random; count what is left and what differs."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reliability import sessions
from tests.reliability.sessions import Session

#: How the first process of a session ends.
WAYS = ("SIGKILL", "SIGTERM", "SIGHUP", "terminal", "SIGINT")
TARGETS = ("parent", "worker")
#: Those after which a session reports before it ends.
ORDERLY = ("SIGTERM", "SIGINT")
#: Seconds after which nothing of an ended session may be left.
GRACE = 2.0
_PATIENCE = 600.0


@dataclass(frozen=True)
class Reference:
    """What an undisturbed session reports and stores, and how long it takes in seconds."""

    cells: Any
    records: dict[str, Any]
    seconds: float

    @classmethod
    def of(cls, folder: Path) -> Reference:
        """Run the suite in ``folder`` once."""
        begun = time.monotonic()
        session = sessions.begin(folder, "reference")
        finish(session, "the undisturbed session")
        seconds = time.monotonic() - begun
        return cls(
            sessions.results(folder, "reference"), sessions.records(folder, "reference"), seconds
        )

    def problem(self, folder: Path, name: str) -> str | None:
        """What the finished session ``name`` has other than this one; None: nothing."""
        if sessions.records(folder, name) != self.records:
            return "stored records differ"
        return None if sessions.results(folder, name) == self.cells else "reported cells differ"


def finish(session: Session, what: str) -> None:
    """Wait for a session that should end with status 0. RuntimeError where it does not."""
    try:
        status = session.process.wait(_PATIENCE)
    finally:
        session.end()
    if status:
        raise RuntimeError(f"{what} ended with status {status}:\n{session.text()[-2000:]}")


def kill_parent(
    folder: Path, name: str, way: str, after: float, expected: Reference, grace: float = GRACE
) -> str | None:
    """End the first process of a session ``after`` seconds in this ``way``; what went wrong.

    Nothing may be left after 2 s, or ``grace`` where it ends in order.
    """
    own, theirs = os.openpty() if way == "terminal" else (None, None)
    try:
        session = sessions.begin(folder, name, terminal=theirs)
        try:
            with contextlib.suppress(Exception):
                session.process.wait(after)
            if own is not None and theirs is not None:
                os.close(theirs)
                os.close(own)  # the system sends SIGHUP
                own = theirs = None
            elif session.process.poll() is None:
                session.process.send_signal(getattr(signal, way))
            allowed = grace if way in ORDERLY else GRACE
            left = sessions.wait_gone(session, allowed)
        finally:
            session.end()
    finally:
        for end in (own, theirs):
            if end is not None:
                os.close(end)
    if left:
        return f"{len(left)} processes are left after {allowed:g} s: {sorted(left.values())}"
    finish(sessions.begin(folder, name, jobs=1), "the session that goes on")
    return expected.problem(folder, name)


def kill_worker(folder: Path, name: str, after: float, expected: Reference) -> str | None:
    """Kill a worker of a session ``after`` seconds, or the first that there is; what went wrong."""
    session = sessions.begin(folder, name)
    time.sleep(after)
    while session.process.poll() is None:
        workers = session.workers()
        with contextlib.suppress(ProcessLookupError):
            if workers:
                os.kill(random.choice(workers), signal.SIGKILL)
                break
        time.sleep(0.01)
    else:
        session.end()
        return "no worker was there to be killed"
    finish(session, "the session whose worker was killed")
    return expected.problem(folder, name)


def kills(
    folder: Path, times: int, seed: int, targets: Sequence[str] = TARGETS, grace: float = GRACE
) -> int:
    """Kill ``times`` of each of ``targets``, print the counts; the number of failures."""
    sessions.write_suite(folder)
    expected = Reference.of(folder)
    print(
        f"undisturbed: {len(expected.records)} runs, {len(expected.cells)} cells, "
        f"{expected.seconds:.1f} s",
        flush=True,
    )
    draw, failures = random.Random(seed), 0
    for target in targets:
        good = 0
        for number in range(times):
            name, way = f"{target}{number}", WAYS[number % len(WAYS)]
            # at most the moment at which half of an undisturbed session is over, for workers
            share = draw.random() * (1.0 if target == "parent" else 0.5)
            after = share * expected.seconds
            if target == "parent":
                problem = kill_parent(folder, name, way, after, expected, grace)
            else:
                problem, way = kill_worker(folder, name, after, expected), "SIGKILL"
            good += problem is None
            print(f"{target} {number}, {way} after {after:.2f} s: {problem or 'good'}", flush=True)
        print(f"{target}: {good} of {times} kills resumed to identical results", flush=True)
        failures += times - good
    return failures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    parser.add_argument("--times", type=int, default=50, help="kills of each kind (50)")
    parser.add_argument(
        "--grace",
        type=float,
        default=GRACE,
        help="seconds in which a session must have ended after SIGTERM or SIGINT (2); more on a "
        "machine that is busy with other work",
    )
    parser.add_argument("--target", choices=TARGETS, help="only these (default: both)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
