"""The fuzzer at a small size, and that it sees faults that are put in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.session import BOUNDARIES, Boundary, Session, share
from tests.fuzz.watch import SECONDS

CASES = 150
BY_NAME = {boundary.name: boundary for boundary in BOUNDARIES}


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    before = signal.getsignal(signal.SIGUSR1)
    session = Session()
    yield session
    session.close()
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("boundary", "count"),
    [one for one in share(CASES, BOUNDARIES) if one[0].weight],
    ids=lambda one: getattr(one, "name", str(one)),
)
def test_every_case_is_accepted_or_refused(
    session: Session, boundary: Boundary, count: int
) -> None:
    tally = session.run(boundary, range(count), 0, lambda number: None)
    assert tally.failures == []
    assert tally.counts.total() == count


def test_cases_repeat(session: Session) -> None:
    for name in ("npz", "TOML", "component"):
        one, other = (session.case(BY_NAME[name], 5, 3) for _ in range(2))
        assert one == other


def made(attempt: object, **more: object) -> Boundary:
    return Boundary("made", attempt, 1, **more)  # type: ignore[arg-type]


def test_a_file_elsewhere_is_seen(session: Session, tmp_path: Path) -> None:
    elsewhere = made(lambda rng, folder: (tmp_path / "x").write_text("x"))
    inside = made(lambda rng, folder: (folder / "x").write_text("x"))
    reading = made(lambda rng, folder: (folder.parent / "secret.png").read_bytes())
    program = made(lambda rng, folder: os.system("true"))
    assert [session.case(b, 0, 0)[0] for b in (elsewhere, inside, reading, program)] == [
        "escaped", "accepted", "escaped", "escaped",
    ]  # fmt: skip


def test_a_hang_and_a_traceback_are_seen(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.watch.SECONDS", 0.5)
    began = time.monotonic()
    assert session.case(made(lambda rng, folder: time.sleep(60)), 0, 0)[0] == "hung"
    assert time.monotonic() - began < 30
    assert session.case(made(lambda rng, folder: 1 // 0), 0, 0)[0] == "crashed"
    assert SECONDS == 5.0
