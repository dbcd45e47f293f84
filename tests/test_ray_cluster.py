"""A Ray cluster that does not come: a new attempt, then an error, and no process is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedcore import ray_cluster as ray_head
from fedcore.ray_cluster import LOCAL, SETTINGS, RayError, cluster_of, within

ANSWERS = "print('127.0.0.1:6379', flush=True); sys.stdin.read(); note('ended')"
HANGS = "time.sleep(600)"
FAILS = "sys.exit('the port is taken')"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SETTINGS, **LOCAL}.items():  # and taken back afterwards
        monkeypatch.setenv(name, value)


def attempts(folder: Path, *does: str) -> list[str]:
    """A command whose n-th attempt does the n-th of ``does``; each leaves its process id."""
    code = (
        "import os, pathlib, sys, time\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "note = lambda text: (folder / f'{os.getpid()}.{text}').touch()\n"
        "turn = len(list(folder.iterdir()))\n"
        "note('begun')\n"
        f"exec({list(does)!r}[turn])\n"
    )
    return [sys.executable, "-c", code]


def running(folder: Path) -> list[int]:
    """The attempts whose processes are still there."""
    found = [int(path.name.partition(".")[0]) for path in folder.glob("*.begun")]
    return [pid for pid in found if os.path.exists(f"/proc/{pid}")]


def test_the_address_comes_and_the_end_is_orderly(tmp_path: Path) -> None:
    with cluster_of(attempts(tmp_path, ANSWERS)) as address:
        assert address == "127.0.0.1:6379"
        assert len(running(tmp_path)) == 1
    assert running(tmp_path) == []
    assert len(list(tmp_path.glob("*.ended"))) == 1


@pytest.mark.parametrize("first", [HANGS, FAILS])
def test_a_second_attempt_is_made(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_head, "START_SECONDS", 2.0)
    with cluster_of(attempts(tmp_path, first, ANSWERS)) as address:
        assert address == "127.0.0.1:6379"
        assert len(running(tmp_path)) == 1
    assert running(tmp_path) == []


@pytest.mark.parametrize(
    ("does", "message"),
    [
        (HANGS, r"did not answer within 2 s, tried 2 times"),
        (FAILS, r"ended with status 1: the port is taken, tried 2 times"),
    ],
)
def test_it_is_given_up_on_with_the_reason(
    does: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_head, "START_SECONDS", 2.0)
    begun = time.monotonic()
    with pytest.raises(RayError, match=message), cluster_of(attempts(tmp_path, does, does)):
        raise AssertionError("there is no cluster")
    assert time.monotonic() - begun < 30
    assert len(list(tmp_path.glob("*.begun"))) == ray_head.START_ATTEMPTS
    assert running(tmp_path) == []


def test_less_than_two_minutes() -> None:
    assert ray_head.START_ATTEMPTS * ray_head.START_SECONDS < 120


def test_what_fails_inside_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), cluster_of(attempts(tmp_path, ANSWERS)):
        raise ValueError("mine")
    assert running(tmp_path) == []


def test_a_call_that_hangs_is_left_alone() -> None:
    with pytest.raises(RayError, match=r"no answer within 0.05 s"):
        within(0.05, lambda: time.sleep(2))
    with pytest.raises(KeyError, match="mine"):
        within(5, lambda: {}["mine"])
    within(5, lambda: None)


IMPORTED_BEFORE = """
import ray
from fedcore.harness.runs.ray import RayPool
pool = RayPool(None, 1)
print(ray.get_runtime_context().gcs_address)
pool.close()
"""


@pytest.mark.slow
def test_a_process_that_has_imported_ray_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the settings it looked for 127.0.0.1 elsewhere, and waited."""
    pytest.importorskip("ray", reason="needs the extra 'flower'")
    for name in {**SETTINGS, **LOCAL}:
        monkeypatch.delenv(name)
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORTED_BEFORE],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.stdout.startswith("127.0.0.1:"), done.stderr
