"""FLTrust: by hand, its root set, and what is no root update."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.attacks.data.backdoor import Backdoor
from fedcore.engine.sequential import SequentialEngine
from fedcore.errors import DataError, FedcoreError, IdentityError, ScenarioError
from fedcore.exchange.cohort import Memory
from fedcore.federation.federation import Federation
from fedcore.federation.root import Root
from fedcore.harness.proofs.arms import Proofs, apart
from fedcore.harness.proofs.audit import audit_problems, effect_problems
from fedcore.harness.proofs.judge import training_problems
from fedcore.scenario import Scenario
from fedcore.simulation.lockstep import run_lockstep
from fedcore.simulation.runner import run
from fedcore.strategies.averaging.fedavg import FedAvg
from fedcore.strategies.robust.fltrust import FLTrust
from fedcore.strategies.robust.median import Median

NAN, INF = float("nan"), float("inf")
SMALL = Scenario(
    dataset="synthetic:240", model="mlp", num_clients=6, fraction_train=1.0, rounds=2,
    strategy="fltrust", root_size=20, local_epochs=(1, 3),
)  # fmt: skip


def stepped(sent, root, memory=None):
    own = torch.tensor(root, dtype=sent.updates.dtype)
    sent = dataclasses.replace(sent, root=own)
    return FLTrust().step(sent.updates, sent, {} if memory is None else memory)


def test_by_hand(cohort) -> None:
    # cosines to (3, 0): 1, 1/sqrt 2, 0, -1; scores 1, 0.7071, 0, 0; all of length 3
    memory = Memory()
    sent = cohort([[6.0, 0.0], [1.0, 1.0], [0.0, 5.0], [-2.0, 0.0]], samples=(1, 1, 1, 997))
    made = stepped(sent, [3.0, 0.0], memory)
    half = math.sqrt(0.5)
    total = 1 + half
    expected = torch.tensor([3 * (1 + half * half) / total, 3 * half * half / total])
    torch.testing.assert_close(made, expected.double())
    assert memory.noted is not None
    assert memory.noted.passes[0] == pytest.approx((1, half, 0, 0))
    assert memory.noted.coefficients == pytest.approx(
        (0.5 / total, half / total * 3 / math.sqrt(2), 0, 0)
    )


@pytest.mark.parametrize("root", [[1.0, 0.0], [0.0, 0.0]])
def test_where_nobody_is_trusted_the_model_is_kept(cohort, root) -> None:
    assert stepped(cohort([[-1.0, 2.0], [0.0, 1.0]]), root).tolist() == [0, 0]


def test_an_update_of_zero_is_not_trusted(cohort) -> None:
    assert stepped(cohort([[0.0, 0.0], [2.0, 0.0]]), [1.0, 0.0]).tolist() == [1, 0]


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_has_no_trust(cohort, bad, dtype) -> None:
    rows = torch.tensor([[bad, 1.0], [2.0, 0.0], [0.0, 3.0]], dtype=dtype)
    memory = Memory()
    made = stepped(cohort(rows), [1.0, 1.0], memory)
    torch.testing.assert_close(made, stepped(cohort(rows[1:]), [1.0, 1.0]))
    assert made.dtype == dtype
    assert memory.noted is not None
    assert memory.noted.coefficients[0] == 0
    assert stepped(cohort(rows[:1]), [1.0, 1.0]).tolist() == [0, 0]


@given(st.integers(0, 2**31), st.floats(0.25, 4.0))
def test_properties(cohort, seed, scale) -> None:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((6, 4)))
    root = np.random.default_rng(seed + 1).standard_normal(4)
    made = stepped(cohort(rows), root)
    length = float(np.linalg.norm(root))
    assert float(made.norm()) <= length * (1 + 1e-9)  # whatever anybody sends
    order = np.random.default_rng(seed).permutation(6)
    torch.testing.assert_close(stepped(cohort(rows[order]), root), made)
    factors = torch.tensor([1.0, scale, 1.0, 1e6, 1.0, 1.0], dtype=torch.float64)
    # lengths of updates do not count, the root update's does
    torch.testing.assert_close(stepped(cohort(factors[:, None] * rows), root), made)
    torch.testing.assert_close(stepped(cohort(rows), scale * root), scale * made)


def test_without_a_root_update_there_is_no_step(cohort) -> None:
    with pytest.raises(FedcoreError, match="'fltrust' was handed no root update"):
        FLTrust().step(torch.ones(2, 2), dataclasses.replace(cohort([[1.0, 1.0]]), root=None), {})


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ScenarioError, match="root_size must be >= 2, got 1"):
        SMALL.but(root_size=1)
    with pytest.raises(ScenarioError, match="trains an update on the server, of which no privacy"):
        SMALL.but(privacy="localdp", epsilon=10.0)
    with pytest.raises(ScenarioError, match="weighs updates by their trust, got 1 row"):
        SMALL.but(fraction_train=0.2)
    with pytest.raises(DataError, match=r"root_size=1000 of the 1000 test samples .* lower it"):
        prepared(SMALL.but(root_size=1000))


def prepared(scenario: Scenario, seed: int = 0) -> Federation:
    return Federation.prepare(scenario, seed, None, torch.device("cpu"))


def test_the_root_set_is_of_the_test_split_and_not_scored() -> None:
    plain, made = prepared(SMALL.but(strategy="fedavg")), prepared(SMALL)
    root = made.root
    assert isinstance(root, Root)
    assert len(set(root.samples.tolist())) == 20 == len(made.parts[6])
    assert len(made.test) == 980 == len(plain.test) - 20
    kept = np.setdiff1d(np.arange(1000), root.samples)
    assert torch.equal(made.test.images, plain.test.images[kept])
    assert torch.equal(made.pool[made.threat.samples_of(6, 1)], plain.test.images[root.samples])
    labels = plain.test.labels[root.samples].tolist()
    assert made.threat.labels_of(6, 1).tolist() == labels
    for one, other in zip(made.dealt, plain.parts, strict=True):
        assert np.array_equal(one, other)  # clients hold what they hold without it
    assert not np.array_equal(prepared(SMALL, 1).root.samples, root.samples)
    assert np.array_equal(prepared(SMALL).root.samples, root.samples)
    assert made.epochs.tolist()[:6] == plain.epochs.tolist()
    assert made.epochs[6] == 3  # the most that a client makes


def test_the_probe_set_is_without_the_root_set() -> None:
    door = {"attack": "backdoor(target=1, poison_ratio=0.5)", "malicious_fraction": 0.34}
    plain, made = prepared(SMALL.but(strategy="fedavg", **door)), prepared(SMALL.but(**door))
    assert plain.probe is not None
    assert made.probe is not None
    lost = int((plain.dataset.test.labels[made.root.samples] != 1).sum())
    assert len(made.probe) == len(plain.probe) - lost


def test_runs_are_proven_in_every_engine_and_their_twin_is_paired() -> None:
    door = Backdoor(target=1, poison_ratio=0.5)
    scenario = SMALL.but(attack=door, malicious_fraction=0.34)
    one = run(scenario, seed=3, device="cpu", precision="float64")
    assert one.audit.identity.rounds_differing == one.audit.identity.rounds_due == 2
    assert len(one.audit.samples) == len(one.audit.epochs) == 6
    assert one.audit.training.tested.images == 980
    assert any("root_size=20 test samples" in note for note in one.audit.notes)
    twin = run(scenario.clean_twin(), seed=3, device="cpu", precision="float64")
    beside = run(scenario.but(strategy="fedavg"), seed=3, device="cpu", precision="float64")
    arms = Proofs()
    for record in (one, twin, beside):
        assert arms.problems(record) == []
        assert audit_problems(record) == training_problems(record) == []
    assert apart(twin, one) == list(effect_problems(twin, one)) == []
    runs = [(scenario, 4), (scenario, 3), (SMALL.but(strategy="fedavg"), 3), (SMALL, 3)]
    together = run_lockstep(runs, device="cpu", precision="float64")
    assert together[1].accuracy == one.accuracy
    assert together[1].asr == one.asr
    assert together[1].loss == pytest.approx(one.loss, rel=1e-9)
    for record in together:
        assert training_problems(record) == []


def test_flower_trains_the_root_update_on_the_server_and_its_own_loop_refuses() -> None:
    pytest.importorskip("flwr", reason="needs the extra 'flower'")
    from fedcore.flower.client_app import app
    from fedcore.flower.local import LocalGrid
    from fedcore.flower.server_app import run_on
    from fedcore.flower.strategy import FedcoreStrategy
    from fedcore.flower.task import Task

    plain = run(SMALL, seed=2, device="cpu", engine="sequential")
    deployed = run_on(
        LocalGrid(app, 6), Task(SMALL, 2), min_clients=6, wait=0, timeout=None, strict=True,
        engine="deployed",
    )  # fmt: skip
    assert (deployed.model_digest, deployed.audit) == (plain.model_digest, plain.audit)
    layout = SequentialEngine(prepared(SMALL), torch.device("cpu")).layout
    strategy = FedcoreStrategy(SMALL, layout, lambda round: (0,))
    with pytest.raises(FedcoreError, match="which Flower's own loop does not"):
        strategy.configure_train(1, None, None, None)


def never_set(self, updates, cohort, memory):
    """A suite's bug: no root update, and so plain averaging."""
    return FedAvg().step(updates, cohort, memory)


def the_first_clients(self, updates, cohort, memory):
    return REAL(self, updates, dataclasses.replace(cohort, root=updates[0]), memory)


def without_relu(self, updates, cohort, memory):
    products, norms = updates.double() @ cohort.root.double(), updates.double().norm(dim=1)
    own = cohort.root.double().norm()
    scores = products / norms / own
    shares = scores / scores.sum() * own / norms
    REAL(self, updates, cohort, memory)
    memory.noted = dataclasses.replace(
        memory.noted, coefficients=tuple(shares.tolist()), passes=(tuple(scores.tolist()),)
    )
    return shares.to(updates) @ updates


def not_rescaled(self, updates, cohort, memory):
    REAL(self, updates, cohort, memory)
    scores = torch.tensor(memory.noted.passes[0], dtype=torch.float64)
    shares = scores / scores.sum()
    memory.noted = dataclasses.replace(memory.noted, coefficients=tuple(shares.tolist()))
    return shares.to(updates) @ updates


REAL = FLTrust.step
FLIPPED = SMALL.but(attack="signflip", stretch=1.0, malicious_fraction=0.5)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (never_set, "'fltrust' equals FedAvg's, the sample-weighted mean"),
        (the_first_clients, "it trusts an update at cosine"),
        (without_relu, r"its scores are not in \[0, 1\]"),
        (not_rescaled, "it weighs an update of length .* where its trust asks for"),
        (Median.step, "it does not say whom it trusts"),
    ],
)
def test_planted_steps_are_not_fltrust(monkeypatch, step, reason) -> None:
    monkeypatch.setattr(FLTrust, "step", step)
    with pytest.raises(IdentityError, match=reason):
        run(FLIPPED, device="cpu")


def test_a_sign_flip_of_half_the_clients_leaves_fltrust_standing() -> None:
    strong = {"attack": "signflip", "stretch": 5.0, "malicious_fraction": 0.5, "rounds": 6}
    trusted = run(SMALL.but(root_size=100, **strong), device="cpu")
    average = run(SMALL.but(strategy="fedavg", **strong), device="cpu")
    assert trusted.accuracy[-1] > average.accuracy[-1] + 0.2
