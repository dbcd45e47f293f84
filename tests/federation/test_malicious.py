from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore import Scenario, run
from fedcore.data.loading import load
from fedcore.errors import AttackError, ScenarioError
from fedcore.federation.clients import partition
from fedcore.federation.malicious import in_order, malicious_clients
from fedcore.harness.proofs import draws
from fedcore.harness.proofs.arms import Proofs
from fedcore.harness.suite.cells import Grid
from fedcore.records.exposure import shares_of
from fedcore.records.record import Record

SEEDS = st.integers(0, 2**31)
SIZES = st.lists(st.integers(0, 400), min_size=5, max_size=30).filter(any)


def scenario(clients: int = 20, fraction: float = 0.3, **more: object) -> Scenario:
    return Scenario(
        num_clients=clients, attack="labelflip", malicious_fraction=fraction, poison_ratio=1.0,
        **{"malicious_set": "balanced", **more},
    )  # fmt: skip


def test_by_hand() -> None:
    # of a random order the next is among the first five; of 4 clients all four are
    arm, sizes = scenario(4, 0.5), [40, 10, 26, 24]
    order = in_order(arm, 0, sizes).tolist()
    assert set(order[:1]) <= {2, 3}  # 25 is due: 26 and 24 are as near
    assert order == {2: [2, 3], 3: [3, 2]}[order[0]]  # then 50: 24 or 26 are due
    assert malicious_clients(arm, 0, sizes).tolist() == [2, 3]


@given(SIZES, SEEDS, st.floats(0.2, 1), st.floats(0.2, 1))
def test_is_the_second_derivation_and_nested(sizes, seed, one, other) -> None:
    few, many = (scenario(len(sizes), f) for f in sorted((one, other)))
    inner, outer = (in_order(arm, seed, sizes).tolist() for arm in (few, many))
    assert inner == outer[: len(inner)]
    assert outer == draws.malicious_order(many, seed, sizes)
    assert len(set(outer)) == many.num_malicious
    assert tuple(malicious_clients(many, seed, sizes)) == draws.malicious(many, seed, sizes)


def test_does_not_depend_on_the_attack_or_the_strategy() -> None:
    sizes = list(range(1, 21))
    first = malicious_clients(scenario(), 3, sizes)
    other = scenario().but(attack="signflip", strategy="median", rounds=3)
    assert np.array_equal(first, malicious_clients(other, 3, sizes))
    assert not np.array_equal(first, malicious_clients(scenario(), 4, sizes))
    assert not np.array_equal(first, malicious_clients(scenario(malicious_set=None), 3))


def test_needs_the_sizes() -> None:
    for sizes in (None, [1, 2]):
        with pytest.raises(AttackError, match="needs the training samples of each of 20 clients"):
            malicious_clients(scenario(), 0, sizes)


def shares(arm: Scenario, labels: np.ndarray, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the samples that malicious clients hold, in all and in the cohorts, in percent."""
    held, exposed = [], []
    for seed in range(seeds):
        sizes = np.array([len(part) for part in partition(arm, labels, 10, seed)])
        bad = malicious_clients(arm, seed, sizes.tolist())
        held.append(sizes[bad].sum() / sizes.sum())
        cohorts, _ = draws.cohorts(arm, seed, draws.parts(arm, seed, labels))
        drawn = np.concatenate(cohorts)
        exposed.append(sizes[drawn][np.isin(drawn, bad)].sum() / sizes[drawn].sum())
    return 100 * np.array(held), 100 * np.array(exposed)


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_at_dirichlet_a_tenth_the_exposure_varies_less(fraction) -> None:
    """Deviation of the malicious clients' share of the samples, and of the realised exposure."""
    labels = load("mnist5k", None, None).train.labels.numpy()
    skewed = {"partition": "dirichlet", "alpha": 0.1, "min_partition_size": 2, "rounds": 10}
    plain = shares(scenario(20, fraction, malicious_set=None, **skewed), labels, 60)
    balanced = shares(scenario(20, fraction, **skewed), labels, 60)
    held, exposed = (
        np.sqrt(((b - 100 * fraction) ** 2).mean() / ((a - 100 * fraction) ** 2).mean())
        for a, b in zip(plain, balanced, strict=True)
    )
    assert held < 0.4
    assert exposed < 0.65
    assert abs(balanced[0].mean() - 100 * fraction) < 1


def test_over_seeds_of_a_fixed_partition_the_sets_still_differ() -> None:
    sizes = np.random.default_rng(0).pareto(1.5, 20) * 100 + 2
    sets = {
        tuple(malicious_clients(scenario(), seed, sizes.astype(int).tolist())) for seed in range(50)
    }
    assert len(sets) > 35
    assert len(set().union(*sets)) >= 12


TINY = Scenario(
    dataset="synthetic:400", model="mlp", num_clients=8, fraction_train=0.5, rounds=3,
    partition="dirichlet", alpha=0.3, min_partition_size=2,
    attack="labelflip", malicious_fraction=0.25, poison_ratio=0.5, malicious_set="balanced",
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"validation_fraction": 0.3},
        {"attack": "dba(target=0, num_parts=2)"},
        {"attack": "trainlonger", "local_epochs": (1, 3)},
        {"strategy": "fltrust", "root_size": 20},
    ],
    ids=str,
)
def test_a_run_is_proven_and_its_record_is_read_again(changes) -> None:
    record = run(TINY.but(**changes), seed=2)
    sizes = record.audit.samples
    assert record.audit.malicious == draws.malicious(record.scenario, 2, sizes)
    assert Record.from_json(record.to_json()) == record
    proofs = Proofs()
    assert proofs.problems(record) == []
    # beside the other kind of set, and a larger one of its kind
    for other in (TINY.but(malicious_set=None, **changes), TINY.but(malicious_fraction=0.5)):
        assert proofs.problems(run(other, seed=2)) == []
    assert shares_of(record).malicious > 0


def test_another_set_is_no_proven_one() -> None:
    record = run(TINY, seed=2)
    wrong = run(TINY.but(malicious_set=None), seed=2)
    assert wrong.audit.malicious != record.audit.malicious
    forged = dataclasses.replace(wrong, scenario=TINY)
    assert any("malicious" in problem for problem in Proofs().problems(forged))


def test_the_twin_and_the_names() -> None:
    twin = TINY.clean_twin()
    assert twin.malicious_set is None
    assert twin == TINY.but(malicious_set=None).clean_twin()
    assert TINY.id == TINY.but(malicious_set=None).id + "-malsetbalanced"
    assert TINY.hash != TINY.but(malicious_set=None).hash
    assert Scenario.from_dict(TINY.to_dict()) == TINY
    assert "malicious_set" not in TINY.but(malicious_set=None).to_dict()
    with pytest.raises(ScenarioError, match="malicious_set=balanced needs an attack"):
        Scenario(malicious_set="balanced")
    with pytest.raises(ScenarioError, match="malicious_set"):
        TINY.but(malicious_set="even")


def test_a_suite_sets_it_for_the_attacked_arms_and_their_controls_alone() -> None:
    base = TINY.clean_twin()
    arms = {"malicious_fractions": [0.25], "poison_ratios": [1.0], "seeds": 2}
    grid = Grid(
        base, [{"strategy": "median"}], [{"partition": "iid"}], [{"attack": "labelflip"}],
        **arms, overrides={"malicious_set": "balanced"},
    )  # fmt: skip
    clean, attacked = grid.cells()
    assert clean.scenario.malicious_set is None
    assert attacked.scenario.malicious_set == attacked.control.malicious_set == "balanced"
    assert attacked.scenario.clean_twin() == clean.scenario
    assert attacked.changed == ("malicious_set",), "limits recorded for other sets do not hold"
