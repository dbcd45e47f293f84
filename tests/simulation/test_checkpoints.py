"""A run that goes on from its checkpoint is, bit for bit, the run that was never ended."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedcore import Scenario, run
from fedcore.errors import IdentityError, StoreError
from fedcore.records.record import Record
from fedcore.simulation import checkpoints as module
from fedcore.simulation.carried import CarriedError, Restored, Saved
from fedcore.simulation.checkpoint_file import read, write
from fedcore.simulation.checkpoints import CheckpointError, Checkpoints, CheckpointWarning

TINY = Scenario(
    dataset="synthetic:260",
    model="mlp",
    num_clients=6,
    fraction_train=0.67,
    rounds=4,
    optimizer="sgd",
    lr=0.1,
)
BAD = {"malicious_fraction": 0.34}
#: What each of these carries from round to round stands beside it.
CARRYING: dict[str, dict[str, Any]] = {
    "scaffold": {  # control variates of server and clients, their ledger, the audit of draws
        "strategy": "scaffold",
        "absent_fraction": 0.4,
        **BAD,
        "attack": "labelflip(redraw=true, poison_ratio=0.5)",
    },
    "feddyn": {"strategy": "feddyn", "num_clients": 5, "absent_fraction": 0.3},
    "fedavgm": {"strategy": "fedavgm", "attack": "mimic", **BAD},  # momentum; the attack's memory
    "fedadam": {  # both moments; the account of privacy
        "strategy": "fedadam",
        "privacy": "localdp(epsilon=2.0, delta=1e-5, clip_norm=1.0, epsilon_budget=9.0)",
    },
    "weakdp": {  # the last update, which clients mask by
        "strategy": "weakdp",
        **BAD,
        "attack": "neurotoxin(of=backdoor(poison_ratio=0.5))",
    },
    "fedbn": {  # clients' own layers, running statistics, labels drawn from scores
        "strategy": "fedbn",
        "model": "cnn",
        "norm": "batch",
        "dataset": "synthetic:120",
        **BAD,
        "attack": "secondbest(poison_ratio=0.5)",
    },
    "centeredclipping": {  # the centre; clients' momenta
        "strategy": "centeredclipping",
        "optimizer": "clientmomentum",
    },
    "foolsgold": {"strategy": "foolsgold", **BAD, "attack": "minmax"},  # sums of updates
}


class Ended(Exception):
    """What ends a run in these tests."""


def end_after(rounds: int) -> Any:
    """A listener that ends the run after so many rounds."""

    def listen(report: Any) -> None:
        if report.round == rounds:
            raise Ended

    return listen


def timeless(record: Record) -> Record:
    """The record without what is never the same twice."""
    provenance = dataclasses.replace(record.provenance, date="")
    return dataclasses.replace(record, timings=None, provenance=provenance)  # type: ignore[arg-type]


def end(scenario: Scenario, place: Checkpoints | Path, rounds: int, **how: Any) -> None:
    """Make so many rounds of a run, and end it."""
    with pytest.raises(Ended):
        run(scenario, 1, checkpoint=place, on_round=end_after(rounds), **how)


@pytest.mark.parametrize("name", CARRYING)
def test_a_run_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    scenario = TINY.but(**CARRYING[name])
    whole = run(scenario, 1)
    end(scenario, Checkpoints(tmp_path, 2), 3)
    (file,) = tmp_path.iterdir()
    resumed: list[int] = []
    again = run(scenario, 1, checkpoint=Checkpoints(tmp_path, 2), on_resume=resumed.append)
    assert resumed == [2]
    assert timeless(again) == timeless(whole)
    assert not file.exists()  # nobody goes on from a run that is finished


def test_each_round_can_be_the_last_and_processes_do_not_matter(tmp_path: Path) -> None:
    scenario = TINY.but(strategy="scaffold", rounds=3)
    whole = timeless(run(scenario, 1))
    place = Checkpoints(tmp_path, 1)
    end(scenario, place, 2, processes=2)  # whose clients' memory is shared by processes
    assert place.saved == 1
    end(scenario, place, 3)
    assert place.saved == 2
    assert timeless(run(scenario, 1, checkpoint=place, processes=2)) == whole


def test_what_is_carried_is_really_used(tmp_path: Path) -> None:
    """Zeros in the place of what clients keep make another run, which its own check sees."""
    end(TINY.but(strategy="scaffold"), Checkpoints(tmp_path, 2), 3)
    (file,) = tmp_path.iterdir()
    with np.load(file, allow_pickle=False) as stored:
        key = json.loads(stored["content"].tobytes())["key"]
    content, arrays = read(file, key)
    for saved in content["clients"].values():
        arrays[saved["tensor"]] = np.zeros_like(arrays[saved["tensor"]])
    write(file, key, content, arrays)
    with pytest.raises(IdentityError, match="its control variates are"):
        run(TINY.but(strategy="scaffold"), 1, checkpoint=tmp_path)


def test_checkpoints_of_other_runs_are_not_gone_on_from(tmp_path: Path) -> None:
    end(TINY, Checkpoints(tmp_path, 2), 3)
    resumed: list[int] = []
    for other, seed in ((TINY.but(lr=0.2), 1), (TINY, 2)):
        run(other, seed, checkpoint=tmp_path, on_resume=resumed.append)
    assert resumed == []
    (first,) = tmp_path.iterdir()
    second = tmp_path / "second"
    end(TINY.but(lr=0.2), Checkpoints(second, 2), 3)
    (file,) = second.iterdir()
    os.replace(first, file)  # under the name of another
    with pytest.warns(CheckpointWarning, match="it is of another scenario; the run begins anew"):
        again = run(TINY.but(lr=0.2), 1, checkpoint=second, on_resume=resumed.append)
    assert resumed == []
    assert timeless(again) == timeless(run(TINY.but(lr=0.2), 1))


def test_damaged_checkpoints_are_passed_over(tmp_path: Path) -> None:
    whole = timeless(run(TINY, 1))
    for damage in (lambda b: b[: len(b) // 2], lambda b: b"", lambda b: flipped(b)):
        end(TINY, Checkpoints(tmp_path, 2), 3)
        (file,) = tmp_path.iterdir()
        file.write_bytes(damage(file.read_bytes()))
        with pytest.warns(CheckpointWarning, match="the run begins anew"):
            assert timeless(run(TINY, 1, checkpoint=tmp_path)) == whole


def flipped(content: bytes) -> bytes:
    """``content`` with one bit of its largest array changed."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    file = tmp_path / "bad.npz"
    stream = io.BytesIO()
    np.savez(stream, content=np.array([Trap()], dtype=object), allow_pickle=True)
    file.write_bytes(stream.getvalue())
    with pytest.raises(StoreError, match="cannot be read"):
        read(file, {})
    assert not (tmp_path / "executed").exists()
    for name in ("os:PathLike", "fedcore.simulation.trial:Trial", "fedcore.errors:FedcoreError"):
        with pytest.raises(CarriedError, match="no data class of fedcore"):
            Restored({}, torch.device("cpu")).of({"value": name, "own": {}}, None, "it")


@dataclasses.dataclass
class Stranger:
    """Not of fedcore."""


@pytest.mark.parametrize(
    ("value", "name"),
    [(Stranger(), "Stranger"), (object(), "object"), (np.array([None]), "objects in an array")],
)
def test_what_cannot_be_saved_is_named(value: Any, name: str) -> None:
    with pytest.raises(CarriedError, match=rf"it\.there.*{name}"):
        Saved().of(value, "it.there")


def test_values_come_back_as_they_were() -> None:
    value = {
        1: (0.1, float("inf"), -0.0, True, None, "text", 2**70),
        "sets": {3, 1},
        ("a", 2): [np.float64(0.3), np.arange(3, dtype=np.uint64), torch.ones(2)],
    }
    saved = Saved()
    again = Restored(saved.arrays, torch.device("cpu")).of(saved.of(value, "v"), None, "v")
    assert repr(again) == repr(value)
    assert type(again["a", 2][0]) is np.float64


def test_components_of_others_that_change_are_refused_by_name(tmp_path: Path) -> None:
    scenario = TINY.but(attack="tests.simulation.hoarding:Hoarder()", **BAD)
    with pytest.raises(CheckpointError, match=r"attack 'Hoarder' changes while it runs"):
        run(scenario, 1, checkpoint=Checkpoints(tmp_path, 2))
    with pytest.warns(CheckpointWarning, match="it goes on without"):
        run(scenario, 1, checkpoint=Checkpoints(tmp_path, 2, lenient=True))


def test_engines_whose_state_is_unknown_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="StackedEngine cannot have checkpoints: choose"):
        run(TINY, 1, engine="stacked", checkpoint=tmp_path)


def test_a_full_disk_ends_a_run_that_asked_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    strict, lenient = (Checkpoints(tmp_path, 1, lenient=given) for given in (False, True))
    monkeypatch.setattr("fedcore.simulation.checkpoint_file.os.fsync", full)
    with pytest.raises(CheckpointError, match=r"\(No space left on device\): make room"):
        run(TINY, 1, checkpoint=strict)
    with pytest.warns(CheckpointWarning, match="it goes on without") as warned:
        record = run(TINY, 1, checkpoint=lenient)
    assert len(warned) == 1  # not after each round
    monkeypatch.undo()
    assert timeless(record) == timeless(run(TINY, 1))
    assert list(tmp_path.iterdir()) == []


def test_by_default_checkpoints_take_two_percent_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that stands still but for 4 seconds a round and ten for each checkpoint."""
    now, made = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def slow(path: Path, *_: Any) -> None:
        made.append(now[0])
        now[0] += 10.0

    def second(_: Any) -> None:
        now[0] += 4.0

    monkeypatch.setattr(module, "write", slow)
    scenario = TINY.but(rounds=300, eval_every=100, local_epochs=1, fraction_train=0.17)
    run(scenario, 1, checkpoint=tmp_path, on_round=second)
    # the first after 10 seconds; then 500 seconds apart, at rounds that 5 divides
    assert made == [20.0, 530.0, 1040.0]
