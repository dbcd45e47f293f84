from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest

from fedcore import Scenario, run
from fedcore.errors import DataError, FedcoreError, ScenarioError
from fedcore.harness.runs import job as worker
from fedcore.harness.statistics.estimates import Noise
from fedcore.harness.suite.lab import Lab
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.harness.tuning.file import TunedWork, read_choices, read_tuning
from fedcore.harness.tuning.search import CANDIDATES, PARTITIONS, SEEDS, TRIAL, TunedChoice, tune
from fedcore.records.store import Run

BASE = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=4, rounds=1,
    attack="labelflip", malicious_fraction=0.5, poison_ratio=1.0,
)  # fmt: skip


def stub_tune(
    monkeypatch: pytest.MonkeyPatch,
    score: Callable[[Run], float],
    diverges: Callable[[Run], bool] = lambda run: False,
    **options: Any,
) -> Any:
    """`tune` with made up scores and divergences; returns its choices and the runs it asked for."""
    begun: list[Run] = []

    class Stub:
        def begin(self, runs: Iterable[Run]) -> None:
            begun.extend(runs)

        def result(self, wanted: Run) -> Any:
            return _Scored(score(wanted), 3 if diverges(wanted) else None)

    monkeypatch.setattr("fedcore.harness.tuning.search.Record", _Scored)
    return tune(cast(Lab, Stub()), BASE, **options), begun


class _Scored:
    def __init__(self, tail_accuracy: float, diverged: int | None) -> None:
        self.tail_accuracy = tail_accuracy
        self.diverged = diverged


def test_only_clean_runs_on_held_out_training_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    _, begun = stub_tune(
        monkeypatch, lambda run: 0.5, strategies=["fedavg"], trial=(), extensions=0
    )
    assert len(begun) == len(set(begun)) == len(CANDIDATES) * len(PARTITIONS) * len(SEEDS)
    assert {r.scenario.attack for r in begun} == {None}
    assert {r.scenario.dataset for r in begun} == {"holdout:synthetic:400"}
    assert {r.seed for r in begun} == set(SEEDS)
    assert min(SEEDS) >= 1000  # those of suites count from 0


def test_the_highest_mean_of_the_worst_partition_wins_and_each_strategy_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    best = {"fedavg": ("momentum", 0.02), "fednova": ("sgd", 0.2)}

    def score(wanted: Run) -> float:
        s = wanted.scenario
        # neither a lucky run nor a much better partition pays for the worse one
        lucky = 0.15 if (s.lr, s.partition, wanted.seed) == (0.05, "dirichlet", SEEDS[0]) else 0
        even = 0.3 if (s.optimizer, s.lr, s.partition) == ("sgd", 0.1, "iid") else 0
        return 0.6 + 0.1 * ((s.optimizer, s.lr) == best[s.strategy]) + lucky + even

    heard: list[TunedChoice] = []
    choices, _ = stub_tune(
        monkeypatch, score, strategies=list(best), listen=heard.append, extensions=0
    )
    assert {c.strategy: (c.optimizer, c.lr) for c in choices} == best
    assert heard == choices
    assert {c.model for c in choices} == {"mlp"}
    nova = {(o, lr): s for o, lr, s in choices[1].scores}
    assert nova["sgd", 0.2] == pytest.approx((70, 70))
    assert nova["sgd", 0.1] == pytest.approx((90, 60))
    assert nova["sgd", 0.05] == pytest.approx((60, 60 + 15 / 4))


def test_one_solver_is_the_one_that_suits_the_worse_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on BloodMNIST: momentum is a little better for FedAvg and ruins FedNova."""
    accuracy = {
        ("fedavg", "sgd", 0.2): 0.55, ("fedavg", "momentum", 0.05): 0.56,
        ("fednova", "sgd", 0.1): 0.48, ("fednova", "momentum", 0.05): 0.18,
    }  # fmt: skip

    def score(wanted: Run) -> float:
        s = wanted.scenario
        return accuracy.get((s.strategy, s.optimizer, s.lr), 0.1)

    names = ["fedavg", "fednova"]
    apart, _ = stub_tune(monkeypatch, score, strategies=names)
    assert [(c.optimizer, c.lr) for c in apart] == [("momentum", 0.05), ("sgd", 0.1)]
    heard: list[TunedChoice] = []
    alike, _ = stub_tune(monkeypatch, score, strategies=names, one_solver=True, listen=heard.append)
    assert [(c.optimizer, c.lr) for c in alike] == [("sgd", 0.2), ("sgd", 0.1)]
    assert heard == alike
    assert [c.scores for c in alike] == [c.scores for c in apart]


def near_the_edge(wanted: Run) -> float:
    return {0.2: 0.8, 0.1: 0.7, 0.4: 0.3}.get(wanted.scenario.lr, 0.5)


def test_a_rate_that_diverges_once_on_trial_is_struck_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverges(wanted: Run) -> bool:
        s = wanted.scenario
        return (s.strategy, s.lr, s.partition, wanted.seed) == ("fedavg", 0.2, "iid", TRIAL[4])

    names = ["fedavg", "fednova"]
    choices, begun = stub_tune(monkeypatch, near_the_edge, diverges, strategies=names)
    assert [(c.optimizer, c.lr) for c in choices] == [("sgd", 0.1), ("sgd", 0.2)]
    assert [len(c.struck) for c in choices] == [1, 0]
    (text,) = choices[0].struck
    assert text.startswith("sgd 0.2, fedavg-iid-clean")
    assert text.endswith(f"seed {TRIAL[4]}")
    assert f"# struck out: {text}\n" in choices[0].toml()
    # a seed at a time, and no further than it takes: what is left need not be run
    seeds = [{r.seed for r in begun if (r.scenario.strategy, r.scenario.lr) == ("fedavg", lr)}
             for lr in (0.2, 0.1)]  # fmt: skip
    assert seeds == [set(TRIAL[:5]), set(TRIAL)]
    # strategies that are compared share what is struck out
    choices, _ = stub_tune(monkeypatch, near_the_edge, diverges, strategies=names, one_solver=True)
    assert [(c.optimizer, c.lr, len(c.struck)) for c in choices] == [("sgd", 0.1, 1)] * 2


def test_what_always_diverges_leaves_nothing_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FedcoreError, match="fedavg: no candidate stays finite"):
        stub_tune(monkeypatch, near_the_edge, lambda run: True, strategies=["fedavg"])


def test_ties_go_to_the_smaller_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    for candidates in (CANDIDATES, CANDIDATES[::-1]):
        (choice,), _ = stub_tune(
            monkeypatch, lambda run: 0.5, strategies=["fedavg"], candidates=candidates, extensions=0
        )
        assert (choice.optimizer, choice.lr) == ("momentum", 0.02)


@pytest.mark.parametrize(
    ("peak", "further"), [(0.1, []), (0.8, [0.8, 1.6]), (0.0125, [0.025, 0.0125, 0.00625])]
)
def test_no_choice_is_at_the_edge_of_the_grid(
    monkeypatch: pytest.MonkeyPatch, peak: float, further: list[float]
) -> None:
    def score(wanted: Run) -> float:
        s = wanted.scenario
        return 0.1 if s.optimizer != "sgd" else 0.9 - 0.1 * abs(math.log2(s.lr / peak))

    (choice,), _ = stub_tune(monkeypatch, score, strategies=["fedavg"])
    assert (choice.optimizer, choice.lr) == ("sgd", peak)
    tried = [lr for name, lr, _ in choice.scores if name == "sgd"]
    assert tried == [0.05, 0.1, 0.2, 0.4, *further]
    assert not choice.at_the_edge


def test_a_choice_that_stays_at_the_edge_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    (choice,), _ = stub_tune(
        monkeypatch, lambda run: run.scenario.lr / 100, strategies=["fedavg"], extensions=1
    )
    assert (choice.optimizer, choice.lr, choice.at_the_edge) == ("sgd", 0.8, True)
    assert "# the rate is the last of the grid" in choice.toml()


def test_the_gain_is_over_the_pair_without_tuning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = BASE.but(optimizer="sgd", lr=0.1)
    monkeypatch.setattr(__name__ + ".BASE", base)
    (choice,), _ = stub_tune(monkeypatch, near_the_edge, strategies=["fedavg"])
    assert choice.untuned == ("sgd", 0.1)
    assert choice.gain == pytest.approx(80 - 70)
    path = tmp_path / "tuning.toml"
    path.write_text(choice.toml())
    work = read_choices(path)(base.but(dataset=choice.dataset))
    assert work == TunedWork("sgd", 0.2, seeds=4, untuned="sgd 0.1", gain=10.0)
    assert str(work) == (
        "sgd 0.2, chosen on 4 seeds, +10.0 points over sgd 0.1 on the worse partition"
    )
    assert read_choices(path)(base.but(model="cnn")) is None
    # a pair that was not tried has no gain
    monkeypatch.setattr(__name__ + ".BASE", base.but(lr=0.3))
    (choice,), _ = stub_tune(monkeypatch, near_the_edge, strategies=["fedavg"])
    assert (choice.untuned, choice.gain) == (None, None)


@pytest.mark.parametrize("dataset", ["mnist5k", "synthetic:50"])
def test_a_choice_reads_back_as_tuning(tmp_path: Path, dataset: str) -> None:
    scores = (("sgd", 0.05, (90.0, 81.25)), ("sgd", 0.1, (91.0, 80.0)))
    choice = TunedChoice(dataset, "mlp", "fednova", "sgd", 0.05, scores)
    path = tmp_path / "tuning.toml"
    path.write_text(choice.toml())
    assert "# sgd 0.05: 90.0 / 81.2, sgd 0.1: 91.0 / 80.0" in choice.toml()
    tuned = read_tuning(path)(BASE.but(strategy="fednova", dataset=dataset))
    assert (tuned.optimizer, tuned.lr) == ("sgd", 0.05)
    # the default data set's choice serves any other; another's serves itself alone
    other = BASE.but(strategy="fednova", dataset="synthetic:60")
    assert (read_tuning(path)(other) == other) == (dataset != "mnist5k")


def lab(tmp_path: Path) -> Lab:
    options = Options(device="cpu", jobs=1, results=tmp_path / "results")
    return Lab(options, Thresholds((), Noise(1.0, 1)))


def test_real_scores_are_mean_tail_accuracies(tmp_path: Path) -> None:
    (choice,) = tune(
        lab(tmp_path), BASE, ["fedavg"],
        candidates=[("sgd", 0.1)], partitions=[{"partition": "iid"}], seeds=(1000, 1001), trial=(),
        extensions=0,
    )  # fmt: skip
    held_out = BASE.clean_twin().but(dataset="holdout:synthetic:400", optimizer="sgd", lr=0.1)
    tails = [run(held_out, seed, device="cpu").tail_accuracy for seed in (1000, 1001)]
    assert choice.scores == (("sgd", 0.1, (pytest.approx(50 * sum(tails)),)),)


def test_a_failed_run_ends_it_with_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise DataError("gone")

    monkeypatch.setattr(worker, "simulate", broken)
    with pytest.raises(FedcoreError, match=r"seed 1000: DataError: gone"):
        tune(lab(tmp_path), BASE, ["fedavg"])


def test_a_strategy_that_no_candidate_suits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="fednova"):
        tune(lab(tmp_path), BASE, ["fednova"], candidates=[("adam", 0.01)])
