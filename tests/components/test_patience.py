"""Modules that never end their import, or end it in a way of their own."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from fedcore.components import patience
from fedcore.components.packages import imported
from fedcore.components.patience import ImportTimeError, impatient
from fedcore.errors import RegistrationError


def test_a_sleeper_is_ended_and_a_worker_is_not() -> None:
    with pytest.raises(ImportTimeError, match=r"waited for 0\.6 s"), impatient(idle_seconds=0.6):
        time.sleep(30)
    with impatient(idle_seconds=0.6):
        spin(1.2)
    with pytest.raises(ImportTimeError, match=r"longer than 0\.5 s"), impatient(seconds=0.5):
        spin(30)


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_nothing_is_left_of_it() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with impatient():
        assert signal.getsignal(signal.SIGALRM) != before
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_other_threads_and_timers_of_others_are_left_alone() -> None:
    seen = []
    thread = threading.Thread(target=lambda: impatient().__enter__() or seen.append(1))
    thread.start()
    thread.join()
    assert seen == [1]
    signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with impatient():
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 90
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import time\ntime.sleep(60)\n", "waited for 0.6 s, computing nothing"),
        ("import time\nwhile True:\n try: time.sleep(9)\n except Exception: pass\n", "waited for"),
        ("raise SystemExit(3)\n", "ended with SystemExit 3"),
        ("def __getattr__(name): raise SystemExit(name)\n", "ended with SystemExit"),
        ("class E(Exception):\n def __str__(self): raise OSError\nraise E\n", "without a message"),
        ("raise ValueError('x' * 10**6)\n", "ValueError: xxx"),
    ],
)
def test_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    name = f"hostile_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(patience, "IDLE_SECONDS", 0.6)
    with pytest.raises(RegistrationError, match=message) as caught:
        imported("attack", f"{name}:Thing")
    assert len(str(caught.value)) < 1000
    began = time.monotonic()
    if "time" in text:  # not waited for again
        with pytest.raises(RegistrationError, match="waited for"):
            imported("attack", f"{name}:Thing")
        assert time.monotonic() - began < 0.5
    sys.modules.pop(name, None)
