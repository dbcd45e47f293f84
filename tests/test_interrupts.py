"""The first Ctrl-C or SIGTERM raises, the second one ends the process without another word."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedcore.interrupts import Interrupts, Terminated, status_of

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import signal, sys, time
from fedcore.interrupts import Interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)  # who tests may ignore it
for ignored in sys.argv[1].split():
    signal.signal(getattr(signal, ignored), signal.SIG_IGN)
Interrupts().install()
try:
    for name in sys.argv[2].split():
        signal.raise_signal(getattr(signal, name))
    print("went on")
except KeyboardInterrupt as error:
    print(type(error).__name__, flush=True)
    for name in sys.argv[3].split():
        signal.raise_signal(getattr(signal, name))
    print("ended")
"""


@pytest.mark.parametrize(
    ("ignored", "first", "second", "status", "printed"),
    [
        ("", "SIGINT", "", 0, ["KeyboardInterrupt", "ended"]),
        ("", "SIGTERM", "", 0, ["Terminated", "ended"]),
        ("", "SIGINT", "SIGINT", 130, ["KeyboardInterrupt"]),
        ("", "SIGINT", "SIGTERM", 143, ["KeyboardInterrupt"]),
        ("", "SIGTERM", "SIGTERM", 143, ["Terminated"]),
        ("SIGINT", "SIGINT", "", 0, ["went on"]),  # as a shell starts what is in its background
    ],
)
def test_signals(ignored: str, first: str, second: str, status: int, printed: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, ignored, first, second],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status
    assert done.stdout.split("\n")[:-1] == [" ".join([line]) for line in printed]
    assert done.stderr == ("\nfedcore: ended at once\n" if second else "")


def test_statuses_are_those_of_a_shell() -> None:
    assert status_of(KeyboardInterrupt()) == 130
    assert status_of(Terminated()) == 143


def test_handlers_are_taken_back_and_others_are_left_alone() -> None:
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with Interrupts()():
            assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is interrupt
    finally:
        signal.signal(signal.SIGTERM, before)
