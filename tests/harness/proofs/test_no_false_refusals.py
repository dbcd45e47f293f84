"""No correct run is refused, whatever its scenario: property tests over valid scenarios."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from fedcore import Scenario, run
from fedcore.components import param
from fedcore.engine.parallel import can_fork
from fedcore.errors import AttackError, IdentityError, PartitionError, ScenarioError
from fedcore.harness.proofs.arms import Proofs, seeds_alike
from fedcore.harness.proofs.audit import audit_problems
from fedcore.harness.proofs.judge import unproven
from fedcore.harness.suite.outcome import strange, unpaired
from fedcore.models.architecture import Architecture
from fedcore.partition.partitioner import Partitioner
from fedcore.records.record import Record
from fedcore.records.store import Run
from fedcore.simulation.lockstep import run_lockstep
from fedcore.strategies.strategy import STRATEGIES
from tests.attacks.examples import Opposed, Overtrain

PARTITIONS: list[dict[str, Any]] = [
    {"partition": "iid"},
    {"partition": "iid", "partition_seed": 3},
    {"partition": "iid", "validation_fraction": 0.3},
    {"partition": "dirichlet", "alpha": 0.5, "min_partition_size": 2},
    {"partition": "dirichlet", "alpha": 100.0, "self_balancing": True, "min_partition_size": 1},
    {
        "partition": "dirichlet", "alpha": 0.2, "min_partition_size": 0, "allow_incomplete": True,
        "partition_seed": 2, "validation_fraction": 0.1,
    },
    {"partition": "pathological", "classes_per_client": 2, "allow_incomplete": True},
    {"partition": "pathological", "classes_per_client": 3, "class_assignment": "deterministic"},
    {
        "partition": "pathological", "classes_per_client": 2, "allow_incomplete": True,
        "class_assignment": "first-deterministic",
    },
]  # fmt: skip
ATTACKS: list[dict[str, Any]] = [
    {"attack": "labelflip"},
    {"attack": "pairflip"},
    {"attack": "targetedflip", "source_class": 1, "target_class": 7},
]
OTHERS: list[dict[str, Any]] = [
    {"attack": "backdoor(poison_ratio=0.3, trigger=square(size=2))"},
    {"attack": "scaled(of=backdoor(target=4, poison_ratio=1.0), gamma=3)"},
    {"attack": "scaled(of=labelflip(poison_ratio=0.5, redraw=True))"},
    {"attack": "signflip(stretch=2)"},
    {"attack": "secondbest(poison_ratio=0.6)"},
    {"attack": "dba(poison_ratio=0.5, num_parts=3, trigger=blended)"},
    {"attack": "arnoise(poison_ratio=0.7, least_response=4)"},
    {"attack": "until(of=secondbest(poison_ratio=1.0), last_round=1)"},
    {"attack": "until(of=scaled(of=dba(poison_ratio=0.5, num_parts=2)), last_round=2)"},
    {"attack": Overtrain(factor=2)},
    {"attack": Opposed()},
]
OPTIMIZERS: list[dict[str, Any]] = [
    {"optimizer": "sgd", "lr": 0.1},
    {"optimizer": "sgd", "lr": 1e-3, "weight_decay": 0.1},
    {"optimizer": "momentum"},
    {"optimizer": "momentum", "momentum": 0.5, "dampening": 0.3, "weight_decay": 1e-3},
    {"optimizer": "momentum", "nesterov": True, "lr": 1.0},
    {"optimizer": "proximal", "mu": 0.5, "lr": 1e-4},
    {"optimizer": "proximal", "mu": 1.0, "momentum": 0.9},
    {"optimizer": "adam", "lr": 1e-3},
    {"optimizer": "adam", "lr": 0.1, "weight_decay": 0.01},
    {"optimizer": "sgd", "lr": 50.0},  # it diverges
]
MODELS: list[dict[str, Any]] = [
    {"model": "mlp"},
    {"model": "mlp", "norm": "group"},
    {"model": "cnn", "norm": "batch"},
    {"model": "cnn", "image_size": 12, "grayscale": True, "normalize": "imagenet"},
]
OURS = sorted(set(STRATEGIES) - {"flower"})


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    chosen = {
        "dataset": "synthetic:200",
        "num_clients": draw(st.sampled_from([8, 10])),
        "fraction_train": draw(st.sampled_from([0.8, 1.0])),
        "rounds": draw(st.integers(1, 3)),
        "eval_every": draw(st.integers(1, 2)),
        "local_epochs": draw(st.sampled_from([1, 2, (1, 3)])),
        "batch_size": draw(st.sampled_from([1, 7, 32])),
        "strategy": draw(st.sampled_from(OURS)),
        **draw(st.sampled_from(PARTITIONS)),
        **draw(st.sampled_from(OPTIMIZERS)),
        **draw(st.sampled_from(MODELS)),
        "malicious_fraction": draw(st.sampled_from([0.1, 0.2, 0.4])),
    }
    if draw(st.booleans()):
        chosen |= draw(st.sampled_from(OTHERS))
    else:
        chosen |= draw(st.sampled_from(ATTACKS))
        chosen["poison_ratio"] = draw(st.sampled_from([0.3, 1.0]))
        chosen["redraw"] = draw(st.booleans())
    try:
        return Scenario(**chosen)
    except ScenarioError:
        assume(False)
        raise


def require_right(records: list[Record], proofs: Proofs) -> None:
    """Nothing is said against ``records`` of one seed, an attacked run and its clean twin."""
    for record in records:
        assert unproven(record) is None
        assert strange(Run(record.scenario, record.seed), record) == []
        assert audit_problems(record) == []
        assert proofs.problems(record) == []
    poisoned, clean = records
    assert unpaired(clean, poisoned) == []


def made(scenario: Scenario, seed: int, **how: Any) -> list[Record]:
    try:
        return [run(s, seed, device="cpu", **how) for s in (scenario, scenario.clean_twin())]
    except (PartitionError, AttackError, IdentityError) as error:
        # what cannot be dealt or attacked; identity has tests of its own
        assume(False)
        raise AssertionError from error


FEW = settings(
    max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@pytest.mark.slow
@FEW
@given(scenario=scenarios(), seed=st.integers(0, 3))
def test_any_scenario_on_the_reference_engine(scenario: Scenario, seed: int) -> None:
    require_right(made(scenario, seed), Proofs())


@pytest.mark.slow
@settings(FEW, max_examples=15)
@given(scenario=scenarios(), engine=st.sampled_from(["stacked", "flower-grid"]))
def test_any_scenario_on_other_engines(scenario: Scenario, engine: str) -> None:
    if engine != "stacked":
        pytest.importorskip("flwr")
        assume(scenario.lr < 50)  # a reply that is not finite ends a run over messages
    require_right(made(scenario, 1, engine=engine), Proofs())


BASE = Scenario(
    dataset="synthetic:200", model="mlp", num_clients=8, fraction_train=0.8, rounds=3,
    strategy="fednova", optimizer="momentum", local_epochs=(1, 3), attack="labelflip",
    malicious_fraction=0.4, poison_ratio=0.5, batch_size=8,
)  # fmt: skip


class Hidden(Architecture):
    width: int = param("hidden units", default=8, low=1)

    def build(self, *, num_classes, channels, size, norm, weights):
        inputs = channels * size[0] * size[1]
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(inputs, self.width),
            nn.ReLU(),
            nn.Linear(self.width, num_classes),
        )


class FirstHolds(Partitioner):
    first: int = param("samples of the first client", default=50, low=1)

    def split(self, labels, num_clients, generator):
        order = generator.permutation(len(labels))
        return [order[: self.first], *np.array_split(order[self.first :], num_clients - 1)]


@pytest.mark.parametrize(
    ("field", "arms"),
    [
        ("model", (Hidden(width=4), Hidden(width=8))),
        ("partition", (FirstHolds(), FirstHolds(first=20))),
    ],
    ids=["model", "partition"],
)
def test_arms_whose_foreign_component_has_other_parameters(
    field: str, arms: tuple[Any, ...]
) -> None:
    proofs = Proofs()
    for arm in arms:
        require_right(made(BASE.but(**{field: arm}), 0), proofs)


@pytest.mark.parametrize("redraw", [False, True])
def test_every_strategy_in_one_session(redraw: bool) -> None:
    """The arms of one seed are compared with each other, and seeds with seeds."""
    proofs = Proofs()
    for strategy in OURS:
        norm = {"norm": "batch"} if strategy == "fedbn" else {}
        scenario = BASE.but(strategy=strategy, redraw=redraw, fraction_train=1.0, **norm)
        if strategy in ("bulyan", "krum", "multikrum"):
            scenario = scenario.but(malicious_fraction=0.2)
        by_seed = {}
        for seed in (0, 1):
            records = made(scenario, seed)
            require_right(records, proofs)
            by_seed[seed] = records[0]
        assert seeds_alike(by_seed) == []


@pytest.mark.parametrize(
    "how",
    [
        {"engine": "stacked"},
        {"engine": "flower-grid"},
        pytest.param({"processes": 2}, marks=pytest.mark.skipif(not can_fork(), reason="no fork")),
    ],
    ids=str,
)
def test_engines_note_the_same(how: dict[str, Any]) -> None:
    if how.get("engine") == "flower-grid":
        pytest.importorskip("flwr")
    alone, other = made(BASE, 2), made(BASE, 2, **how)
    require_right(other, Proofs())
    assert [r.audit.training for r in alone] == [r.audit.training for r in other]


def test_lockstep_notes_the_same() -> None:
    runs = [(s, seed) for seed in (0, 1) for s in (BASE, BASE.clean_twin())]
    together = run_lockstep(runs, device="cpu")
    alone = [run(s, seed, device="cpu") for s, seed in runs]
    assert [r.audit.training for r in together] == [r.audit.training for r in alone]


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_float64(engine: str) -> None:
    """Its initial model is that of float32."""
    require_right(made(BASE, 0, precision="float64", engine=engine), Proofs())


def test_bfloat16() -> None:
    """As a GPU computes in it; this CPU takes longer."""
    made_by = {"precision": "bfloat16", "engine": "stacked"}
    require_right(made(BASE.but(model="cnn"), 0, **made_by), Proofs())


@pytest.mark.parametrize(
    "privacy",
    [
        {"privacy": "localdp", "epsilon": 8.0},
        {"privacy": "centraldp", "epsilon": 8.0},
        {"privacy": "dpsgd", "noise_multiplier": 1.0},
        {"privacy": "dpsgd", "noise_multiplier": 1.0, "epsilon_budget": 30.0},
        {"privacy": "localdp", "epsilon": 8.0, "released": "head"},
        {"privacy": "localdp", "epsilon": 8.0, "epsilon_budget": 20.0},
    ],
    ids=str,
)
def test_private_runs(privacy: dict[str, Any]) -> None:
    if privacy["privacy"] == "dpsgd":
        pytest.importorskip("opacus")
    require_right(made(BASE.but(**privacy, strategy="fedavg", rounds=4), 0), Proofs())


def test_dropout_and_a_deep_network() -> None:
    scenario = BASE.but(model="mobilenet_v2", rounds=1, image_size=32, grayscale=True)
    require_right(made(scenario.but(local_epochs=1, strategy="fedavg"), 0), Proofs())


def test_a_run_that_diverges_half_way() -> None:
    records = made(BASE.but(lr=1e4, strategy="fedavg", optimizer="sgd"), 0)
    assert records[0].diverged is not None
    require_right(records, Proofs())


def test_an_arm_that_diverges_at_once_has_scored_nothing() -> None:
    arm = Scenario(
        dataset="synthetic:200", model="mlp", num_clients=8, fraction_train=0.8, rounds=1,
        optimizer="sgd", lr=0.05,
    )  # fmt: skip
    wild = run(arm.but(lr=1e20, batch_size=4), device="cpu")
    assert wild.diverged == 1
    proofs = Proofs()
    assert proofs.problems(run(arm, device="cpu")) == []
    assert proofs.problems(wild) == []
