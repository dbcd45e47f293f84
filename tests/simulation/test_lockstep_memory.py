"""Lockstep where memory runs out, or one run ends in an error: the others go on, exactly."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedcore.errors import FedcoreError, PrivacyError
from fedcore.records.record import Record
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep import lockstep, run_lockstep
from fedcore.simulation.lockstep_group import Group, MemoryShortage
from fedcore.simulation.lockstep_member import Member
from fedcore.simulation.runner import run
from fedcore.simulation.trial import RoundReport, Trial
from tests.simulation.test_lockstep import STACKED
from tests.simulation.test_lockstep import TINY as RAGGED

TINY = RAGGED.but(local_epochs=1)
#: What a round writes to: server's memory, clients' own layers, privacy accounts, all three.
STATEFUL = [
    TINY.but(strategy="fedavgm", server_momentum=0.9),
    TINY.but(strategy="fedadam", server_lr=0.01),
    TINY.but(strategy="fedbn"),
    TINY.but(privacy="localdp", epsilon=5.0, clip_norm=1.0, norm="group"),
]


def made(runs: list[tuple[Scenario, int]]) -> tuple[dict[int, Record | FedcoreError], list[Any]]:
    """The results by position, and (position, round) of all reports."""
    results, reports = {}, []
    for place, event in lockstep(runs, STACKED):
        if isinstance(event, RoundReport):
            reports.append((place, event.round))
        else:
            assert place not in results
            results[place] = event
    return results, reports


def assert_alone(record: Record | FedcoreError, scenario: Scenario, seed: int) -> None:
    """All that is computed is what the run gives alone, but for the last bits."""
    assert isinstance(record, Record)
    alone = run(scenario, seed, engine="stacked", device="cpu", precision="float64")
    assert record.accuracy == alone.accuracy
    assert record.loss == pytest.approx(alone.loss, rel=1e-9)
    assert record.audit == alone.audit


def every_round_once(runs: list[tuple[Scenario, int]], reports: list[Any]) -> bool:
    wanted = [(p, r) for p, (s, _) in enumerate(runs) for r in range(1, s.rounds + 1)]
    return sorted(reports) == wanted


def has_seed(team: list[Member], seed: int) -> bool:
    return any(member.trial.federation.seed == seed for member in team)


def teams(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of runs of each training."""
    sizes: list[int] = []
    train = Group._train
    monkeypatch.setattr(
        Group, "_train", lambda self, team: (sizes.append(len(team)), train(self, team))[1]
    )
    return sizes


def short(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: Callable[..., bool]
) -> list[Any]:
    """Memory runs out at the end of ``owner.name`` as often as ``when`` says so."""
    method, times = getattr(owner, name), []

    def exhausted(self: Any, *arguments: Any) -> Any:
        value = method(self, *arguments)
        if when(self, *arguments):
            times.append(arguments)
            raise torch.OutOfMemoryError("simulated\nand much more")
        return value

    monkeypatch.setattr(owner, name, exhausted)
    return times


def test_a_run_that_does_not_fit_beside_others_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third run that is set up fails, and its second try: it is put back."""
    living: list[weakref.ref[Any]] = []
    tried: list[int] = []
    member = Group._member

    def counted(self: Group, *arguments: Any) -> Any:
        gc.collect()
        tried.append(arguments[0])
        if sum(ref() is not None for ref in living) == 2:
            raise torch.OutOfMemoryError("simulated")
        new = member(self, *arguments)
        living.append(weakref.ref(new.trial))
        return new

    monkeypatch.setattr(Group, "_member", counted)
    sizes = teams(monkeypatch)
    runs = [(TINY, seed) for seed in range(5)]
    results, reports = made(runs)
    assert sizes == [2] * 6 + [1] * 3
    assert tried == [0, 1, 2, 2, 2, 3, 4], "that three do not fit is found out once"
    assert every_round_once(runs, reports)
    for place, (scenario, seed) in enumerate(runs):
        assert_alone(results[place], scenario, seed)


def test_what_did_not_fit_together_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs are within the estimate, and memory runs out: then one follows the other."""
    sizes = teams(monkeypatch)
    times = short(monkeypatch, Group, "_train", lambda _, team: len(team) > 1)
    events = lockstep([(TINY, seed) for seed in range(4)], STACKED, None, 2_000_000)
    assert sum(isinstance(event, Record) for _, event in events) == 4
    assert len(times) == 1
    assert sizes == [2] + [1] * 12


def test_a_run_that_cannot_be_set_up_alone_is_a_failure_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = short(monkeypatch, Group, "_member", lambda self, place, scenario, seed: seed == 0)
    runs = [(TINY, 0), (TINY, 1)]
    results, _ = made(runs)
    assert len(tried) == 2
    assert isinstance(results[0], MemoryShortage)
    assert "(simulated)" in str(results[0])
    assert results[0].__traceback__ is None, "it would hold on to tensors"
    assert_alone(results[1], TINY, 1)


@pytest.mark.parametrize("scenario", STATEFUL, ids=lambda s: s.privacy or s.strategy)
@pytest.mark.parametrize("after", ["_aggregate", "evaluate"])
def test_an_end_of_a_round_is_made_again_without_what_training_holds(
    monkeypatch: pytest.MonkeyPatch, scenario: Scenario, after: str
) -> None:
    """Memory runs out once in each round of each run: all of them go on as one team."""
    failed: set[tuple[int, int]] = set()

    def once(trial: Trial, *_: Any) -> bool:
        key = trial.federation.seed, trial.round
        return key not in failed and not failed.add(key)

    if after == "evaluate":
        conclude = Trial.conclude

        def spoilt(self: Trial, *arguments: Any) -> RoundReport:
            trial = self
            with pytest.MonkeyPatch.context() as patch:
                short(patch, type(self.engine), after, lambda *_: once(trial))
                return conclude(self, *arguments)

        monkeypatch.setattr(Trial, "conclude", spoilt)
    else:
        short(monkeypatch, Trial, after, once)
    runs = [(scenario, 0), (scenario, 1)]
    sizes = teams(monkeypatch)
    results, reports = made(runs)
    monkeypatch.undo()
    assert len(failed) == 6
    assert sizes == [2, 2, 2]
    assert every_round_once(runs, reports)
    for place, (_, seed) in enumerate(runs):
        assert_alone(results[place], scenario, seed)


@pytest.mark.parametrize("scenario", STATEFUL, ids=lambda s: s.privacy or s.strategy)
def test_an_end_of_a_round_that_does_not_fit_goes_on_with_fewer(
    monkeypatch: pytest.MonkeyPatch, scenario: Scenario
) -> None:
    """Seed 2's second round ends only where one run trains: its clients train again."""
    sizes = teams(monkeypatch)

    def crowded(trial: Trial, *_: Any) -> bool:
        return sizes[-1] > 1 and trial.federation.seed == 2 and trial.round == 3

    times = short(monkeypatch, Trial, "conclude", crowded)
    runs = [(scenario, seed) for seed in range(4)]
    results, reports = made(runs)
    monkeypatch.undo()
    assert len(times) == 4  # among four and among two, and each once more
    assert sizes[:2] == [4, 4]
    assert every_round_once(runs, reports)
    for place, (_, seed) in enumerate(runs):
        assert_alone(results[place], scenario, seed)


@pytest.mark.parametrize("where", ["conclude", "_train"])
def test_lasting_shortage_is_the_failure_of_that_run_only(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "conclude":
        short(monkeypatch, Trial, where, lambda trial, *_: trial.federation.seed == 1)
    else:
        short(monkeypatch, Group, where, lambda _, team: has_seed(team, 1))
    runs = [(TINY, seed) for seed in range(4)] + [(TINY.but(lr=0.2), 2)]
    results, reports = made(runs)
    with pytest.raises(MemoryShortage):
        run_lockstep(runs[:2], device="cpu")
    monkeypatch.undo()
    assert isinstance(results[1], MemoryShortage)
    assert results[1].__traceback__ is None
    counts = Counter(place for place, _ in reports)
    assert [counts[place] for place in (0, 2, 3, 4)] == [3] * 4
    for place in (0, 2, 3, 4):
        assert_alone(results[place], *runs[place])


def test_a_run_alone_is_tried_again_once_the_others_have_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seed 0 fits only when seed 1, whose model waits beside it, is over."""
    over: list[int] = []
    short(
        monkeypatch,
        Group,
        "_train",
        lambda _, team: has_seed(team, 0) and not over,
    )
    record = Trial.record

    def noted(self: Trial) -> Record:
        over.append(self.federation.seed)
        return record(self)

    monkeypatch.setattr(Trial, "record", noted)
    results, _ = made([(TINY, 0), (TINY, 1)])
    assert list(results) == [1, 0]
    assert_alone(results[0], TINY, 0)


@pytest.mark.parametrize("owner", [Trial, Group], ids=["conclude", "train"])
def test_an_error_of_one_run_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch, owner: Any
) -> None:
    name = {Trial: "conclude", Group: "_train"}[owner]
    method = getattr(owner, name)

    def refused(self: Any, *arguments: Any) -> Any:
        trials = [self] if owner is Trial else [m.trial for m in arguments[0]]
        if any(t.federation.seed == 1 and t.round == 2 for t in trials):
            raise PrivacyError("a promise that cannot be kept")
        return method(self, *arguments)

    monkeypatch.setattr(owner, name, refused)
    runs = [(TINY, seed) for seed in range(4)] + [(TINY.but(lr=0.2), 2)]
    results, reports = made(runs)
    monkeypatch.undo()
    assert isinstance(results[1], PrivacyError)
    assert results[1].__traceback__ is None, "it would hold on to tensors"
    assert [r for place, r in reports if place == 1] == [1]
    for place in (0, 2, 3, 4):
        assert_alone(results[place], *runs[place])


def test_what_training_holds_is_given_back() -> None:
    group = Group({}, STACKED, None, None)
    member = group._member(0, TINY.but(optimizer="adam"), 0)
    with STACKED.arithmetic():
        group._train([member])
    assert group.bench is not None
    trainer = group.bench.trainer
    rows = [trainer._vectors, trainer._gradients, group.bench.solver._first]  # type: ignore[attr-defined]
    held = [row.untyped_storage().data_ptr() for row in rows]
    del rows
    failing = iter([True, False])

    def action() -> str:
        if next(failing):
            raise torch.OutOfMemoryError("simulated")
        return "done"

    assert group._spared(action) == "done"
    network = trainer._network
    tensors = [t for layer in network._layers.values() for t in layer.tensors.values()]
    tensors += [network._gradients, *network._places, trainer._vectors, trainer._gradients]
    tensors += [v for v in vars(group.bench.solver).values() if isinstance(v, torch.Tensor)]
    assert not {t.untyped_storage().data_ptr() for t in tensors} & set(held)
