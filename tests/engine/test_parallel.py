"""Several processes train one cohort: the same bits, no hang, nothing left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fedcore.engine import evaluation, parallel
from fedcore.engine.execution import Execution, default_processes
from fedcore.engine.parallel import HelperLost, ParallelEngine
from fedcore.engine.sequential import SequentialEngine
from fedcore.engine.shared import shared_zeros
from fedcore.errors import FedcoreError, ModelError
from fedcore.federation.federation import Federation
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
TINY = Scenario(
    dataset="synthetic:260",
    model="cnn",
    num_clients=6,
    fraction_train=0.5,
    rounds=3,
    local_epochs=(1, 3),
    batch_size=8,
)
ATTACK = {"attack": "labelflip", "malicious_fraction": 0.5, "poison_ratio": 0.5}

pytestmark = pytest.mark.skipif(not parallel.can_fork(), reason="needs fork, and no CUDA")


def result(scenario: Scenario, processes: int):
    """What a run computed: the record without its timings and date."""
    record = run(scenario, 3, device="cpu", processes=processes)
    return dataclasses.replace(record, timings=None, provenance=None)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"norm": "batch"},
        {"norm": "batch", "strategy": "fedbn", "rounds": 6},
        {"optimizer": "adam", "lr": 0.01},
        {"optimizer": "momentum", "strategy": "fednova"},
        {**ATTACK, "redraw": True},
        {"partition": "dirichlet", "alpha": 0.5, "rounds": 2},
        {"lr": 1e30},
    ],
    ids=["sgd", "batchnorm", "fedbn", "adam", "fednova", "redraw", "unequal", "diverged"],
)
def test_processes_change_no_bit(changes, monkeypatch) -> None:
    monkeypatch.setattr(evaluation, "_BATCH_PIXELS", {"cpu": 64 * 7})  # many batches of 7
    scenario = TINY.but(**changes)
    alone = result(scenario, 1)
    assert result(scenario, 2) == alone
    assert result(scenario, 3) == alone


def test_dropout_and_mobilenet_change_no_bit() -> None:
    scenario = TINY.but(
        dataset="synthetic:48", model="mobilenet_v2", norm="batch", grayscale=True, rounds=2
    )
    assert result(scenario, 2) == result(scenario, 1)


def engine_of(scenario: Scenario, processes: int = 2) -> ParallelEngine:
    federation = Federation.prepare(scenario, 0, Path(), CPU)
    return ParallelEngine(SequentialEngine(federation, CPU, zeros=shared_zeros), processes)


@pytest.fixture
def engine():
    made = engine_of(TINY)
    yield made
    made.close()


def helpers(engine: ParallelEngine) -> list[int]:
    return [process.pid for process in engine._helpers.values()]


def test_every_process_takes_part_and_close_ends_them(engine, monkeypatch) -> None:
    mine = []
    train = engine.engine.train_client
    monkeypatch.setattr(
        engine.engine, "train_client", lambda *a: (time.sleep(0.05), mine.append(a), train(*a))
    )
    engine.train(engine.initial_state(), 1, (0, 3, 5))
    assert 0 < len(mine) < 3
    (pid,) = helpers(engine)
    engine.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    engine.close()  # a second time changes nothing


def test_threads_of_the_parent_do_not_hang_a_helper() -> None:
    """The parent has used two OpenMP threads; a fork of it has none, and must not wait for them."""
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "import torch; torch.set_num_threads(2)\n"
        "images, kernels = torch.randn(64, 16, 28, 28), torch.randn(32, 16, 3, 3)\n"
        "torch.nn.functional.conv2d(images, kernels)\n"
        "from tests.engine.test_parallel import TINY, engine_of\n"
        "engine = engine_of(TINY)\n"
        "train = engine.engine.train_client\n"
        "import time\n"
        "engine.engine.train_client = lambda *a: (time.sleep(0.2), train(*a))\n"
        "engine.train(engine.initial_state(), 1, (0, 3, 5))\n"
        "engine.close()\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60, check=True)


def broken(monkeypatch, error: Exception | None) -> ParallelEngine:
    """An engine whose helpers raise ``error`` for every client, or die without one."""
    parent, train = os.getpid(), SequentialEngine.train_client

    def train_client(self, *arguments):
        if os.getpid() != parent:
            if error is None:
                os.kill(os.getpid(), signal.SIGKILL)
            raise error
        time.sleep(0.05)  # leave the helper a client
        train(self, *arguments)

    monkeypatch.setattr(SequentialEngine, "train_client", train_client)
    return engine_of(TINY)


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("not this one")


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ModelError("no good"), ModelError), (Unpicklable("no good"), FedcoreError)],
)
def test_an_error_of_a_helper_is_raised(monkeypatch, error, kind) -> None:
    engine = broken(monkeypatch, error)
    with pytest.raises(kind, match="no good") as caught:
        engine.train(engine.initial_state(), 1, (0, 1, 2))
    if kind is ModelError:
        assert "in a helper process" in caught.value.__notes__[0]
    assert helpers(engine) == []


def test_a_killed_helper_is_reported(monkeypatch) -> None:
    engine = broken(monkeypatch, None)
    with pytest.raises(FedcoreError, match=r"ended from outside \(exit code -9"):
        engine.train(engine.initial_state(), 1, (0, 1, 2))
    assert helpers(engine) == []


def test_a_stopped_helper_is_named_and_ended(monkeypatch) -> None:
    parent, train = os.getpid(), SequentialEngine.train_client

    def train_client(self, *arguments):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.05)  # leave the helper a client
        train(self, *arguments)

    monkeypatch.setattr(SequentialEngine, "train_client", train_client)
    engine = engine_of(TINY)
    engine.patience = 0.5
    (pid,) = helpers(engine)
    with pytest.raises(
        HelperLost, match=rf"process ids {pid}\) has given a sign of life for 0.5 s"
    ):
        engine.train(engine.initial_state(), 1, (0, 1, 2))
    assert helpers(engine) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


DOOMED = """
import time
from tests.engine.test_parallel import SequentialEngine, TINY, engine_of, helpers
SequentialEngine.train_client = lambda *a: time.sleep(60)
engine = engine_of(TINY, 3)
print(*helpers(engine), flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["", "engine.train(engine.initial_state(), 1, (0, 1, 2))"])
def test_helpers_die_with_their_parent(then) -> None:
    """With a parent that is killed, idle or amid a round."""
    code = DOOMED.format(then=then or "time.sleep(60)")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        time.sleep(0.3)
        parent.kill()
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a helper outlived its parent"
        time.sleep(0.05)
    assert len(pids) == 2


def alive(pid: int) -> bool:
    """Whether process ``pid`` runs; one that waits to be collected by init does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_more_processes_than_clients_and_none_where_it_cannot_fork(monkeypatch) -> None:
    assert result(TINY.but(fraction_train=1 / 6), 4) == result(TINY.but(fraction_train=1 / 6), 1)
    assert default_processes("cpu") >= 1
    monkeypatch.setattr(parallel, "can_fork", lambda: False)
    monkeypatch.setattr("fedcore.engine.execution.can_fork", lambda: False)
    assert default_processes("cpu") == 1
    with pytest.raises(FedcoreError, match="leave processes at 1"):
        run(TINY, device="cpu", processes=2)
    assert Execution(device="cpu", processes=2).label == "sequential"


def test_shared_zeros() -> None:
    tensor = shared_zeros((2, 3), dtype=torch.float64)
    assert tensor.tolist() == [[0.0] * 3] * 2
    assert shared_zeros((0, 3), dtype=torch.int64).shape == (0, 3)
    with pytest.raises(ValueError, match="on the CPU only, got cuda"):
        shared_zeros((1,), dtype=torch.float32, device="cuda")
    pid = os.fork()
    if pid == 0:
        tensor[1, 2] = 7
        os._exit(0)
    os.waitpid(pid, 0)
    assert tensor[1, 2] == 7
