from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.peers import measure as module
from benchmark.peers.measure import Result, measure, process_tree, proportional_set_size

REPORT = 'print(\'{"rounds": [0.1, 0.2], "steps": 800, "digest": "abc"}\')'
HOLD = 64 << 20

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc"
)


def run(code: str, limit: float = 60.0) -> Result:
    return measure([sys.executable, "-c", code], dict(os.environ), Path.cwd(), limit)


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """A process whose child holds 64 MB and has printed its pid."""
    child = f"import os, time; x = b'x' * {HOLD}; print(os.getpid(), flush=True); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    made = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    yield made
    for pid in process_tree(made.pid):
        os.kill(pid, 9)
    made.communicate()


def test_the_tree_and_its_memory(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert process_tree(parent.pid) == {parent.pid, child}
    assert HOLD <= proportional_set_size(child) <= HOLD + (32 << 20)
    assert proportional_set_size(parent.pid) < HOLD


def test_a_process_that_is_gone_has_no_memory_and_no_tree() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert proportional_set_size(gone.pid) == 0
    assert process_tree(gone.pid) == set()


def test_a_run_is_timed_and_its_report_read() -> None:
    code = f"import time; x = b'x' * {HOLD}; time.sleep(0.5); print('noise'); {REPORT}; print('z')"
    found = run(code)
    assert (found.rounds, found.steps, found.digest) == ((0.1, 0.2), 800, "abc")
    assert found.error is None
    assert 0.5 <= found.total < 10
    assert HOLD <= found.memory <= HOLD + (32 << 20)
    assert found.samples > 1


def test_the_memory_of_children_counts() -> None:
    child = f"import time; x = b'x' * {HOLD}; time.sleep(0.5)"
    found = run(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    assert found.memory >= HOLD


def test_looking_takes_a_twentieth_of_a_core_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(pid: int) -> int:
        time.sleep(0.02)
        return 1

    monkeypatch.setattr(module, "proportional_set_size", slow)
    # 20 ms and more a look: the next one comes 0.38 s later at the earliest
    assert run("import time; time.sleep(1)").samples <= 4


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import sys; sys.exit('the reason')", "exit status 1: the reason"),
        (
            "import sys; sys.exit('ValueError: the cause\\nx.ChildFailedError:\\n======')",
            "exit status 1: ValueError: the cause",
        ),
        ("import os; os.kill(os.getpid(), 9)", "exit status -9: no message"),
        ("print('nothing')", "no report in its output (no JSON line)"),
        ("print('{\"rounds\": [1]}')", "no report in its output ('steps')"),
    ],
)
def test_a_failed_run_says_why(code: str, error: str) -> None:
    assert run(code).error == error


def test_a_run_that_hangs_is_ended_with_all_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    child = f"import os, time; open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(60)"
    # one child in the session of the run, one in a session of its own, as torchrun makes them
    code = f"""
import subprocess, sys, time
for own in (False, True):
    subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=own)
time.sleep(60)
"""
    found = run(code, limit=3)
    assert found.error == "not finished after 3 s"
    left = [int(pid) for pid in pids.read_text().split()]
    assert len(left) == 2
    assert not any(map(alive, left))


def test_what_a_run_leaves_behind_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}])"
    found = run(f"{code}; time.sleep(1); {REPORT}")
    assert found.error is None
    assert not alive(int(pid.read_text()))


def alive(pid: int) -> bool:
    """Whether ``pid`` runs; one that nobody has waited for yet does not."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return False
        except OSError:
            return False
        time.sleep(0.05)
    return True
