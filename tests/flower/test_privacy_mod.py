"""The mod against hand-made replies, and Flower's own mod and wrapper against ours."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("flwr")

from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg

from fedcore.errors import PrivacyError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.layout import Layout
from fedcore.flower.privacy_mod import PrivateUpdates, layout_of
from fedcore.privacy.gaussian import noise_multiplier
from fedcore.privacy.mechanism import Facts, Mechanism
from fedcore.scenario import Scenario


class Silence:
    description = "none"

    def normal(self, size: int, *, round: int, client: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.float64)


def message(state: dict[str, torch.Tensor], kind: str = "train", **metrics: float):
    content = RecordDict({"arrays": record(state)})
    if metrics:
        content["metrics"] = MetricRecord(metrics)
    metadata = SimpleNamespace(message_type=kind)
    return SimpleNamespace(content=content, metadata=metadata, has_error=lambda: False)


def record(state: dict[str, torch.Tensor]) -> ArrayRecord:
    return ArrayRecord({name: Array(np.array(t.numpy())) for name, t in state.items()})


def context():
    return SimpleNamespace(state=RecordDict())


def model(norms: int = 52) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    layers = [nn.Linear(2, 2), *(nn.BatchNorm1d(2) for _ in range(norms)), nn.Linear(2, 3)]
    return {n: t.clone() for n, t in nn.Sequential(*layers).state_dict().items()}


def moved(state: dict[str, torch.Tensor], by: float, steps: int = 8) -> dict[str, torch.Tensor]:
    """``state`` after ``steps`` steps: one weight changes by ``by``."""
    new = {n: t.clone() for n, t in state.items()}
    new["0.weight"][0, 0] += by
    for name in new:
        if name.endswith("num_batches_tracked"):
            new[name] += steps
        if name.endswith("running_mean"):
            new[name] += 1.0
    return new


def norm_of_parameters(before: dict[str, torch.Tensor], after: ArrayRecord) -> float:
    names = [n for n in before if n.endswith(("weight", "bias"))]
    return float(np.sqrt(sum(((after[n].numpy() - before[n].numpy()) ** 2).sum() for n in names)))


def test_flowers_mod_destroys_the_update_and_this_one_does_not(monkeypatch) -> None:
    """52 counters advanced by 8: a norm of 0.32 becomes 0.0055 there, and stays here."""
    monkeypatch.setattr(np.random, "normal", lambda mean, sd, shape: np.zeros(shape))
    start = model()
    end = moved(start, 0.32)
    for name in end:  # only counters beside the weight
        if name.endswith("running_mean"):
            end[name] = start[name]
    flowers = LocalDpMod(1.0, 1.0, 1.0, 1e-5)
    reply = flowers(message(start), context(), lambda m, c: message(end))
    assert norm_of_parameters(start, reply.content["arrays"]) == pytest.approx(0.00555, abs=1e-4)
    ours = PrivateUpdates(epsilon=1.0, noise=Silence())
    reply = ours(message(start), context(), lambda m, c: message(end))
    assert norm_of_parameters(start, reply.content["arrays"]) == pytest.approx(0.32, abs=1e-6)


def over(scenario: Scenario, facts: Facts) -> Mechanism:
    assert scenario.parts.privacy is not None
    return scenario.parts.privacy.over(scenario, facts, Silence())


@pytest.mark.parametrize("norms", [0, 3])
def test_the_scenarios_localdpmod_is_flowers(monkeypatch, norms) -> None:
    """Without noise the same arrays, counters included; and the same sigma."""
    monkeypatch.setattr(np.random, "normal", lambda mean, sd, shape: np.zeros(shape))
    start = model(norms)
    end = moved(start, 3.0)
    sent = LocalDpMod(0.5, 2.0, 4.0, 1e-5)(message(start), context(), lambda m, c: message(end))
    layout = layout_of(start)
    fields = {"privacy": "localdpmod", "epsilon": 4.0, "clip_norm": 0.5, "sensitivity": 2.0}
    mechanism = over(Scenario(**fields), Facts(0, layout, (1,), (1,)))
    (vector, counters), (after, counted) = layout.flatten(start), layout.flatten(end)
    cohort = Cohort((0,), (after - vector)[None], counted[None], (1,), (1,), (None,))
    ours = mechanism.privatise(ServerState(vector, counters), cohort, 1)
    for name, tensor in layout.state_dict(vector + ours.updates[0], ours.counters[0]).items():
        np.testing.assert_allclose(
            sent.content["arrays"][name].numpy(), tensor.numpy(), atol=1e-6, err_msg=name
        )
    assert mechanism.sigma == pytest.approx(2.0 * np.sqrt(2 * np.log(1.25 / 1e-5)) / 4.0)


def test_central_clipping_and_noise_are_those_of_flowers_wrapper(monkeypatch) -> None:
    """Three equal clients: Flower's multiplier is ours times the sensitivity 2."""
    drawn = []
    monkeypatch.setattr(
        np.random, "normal", lambda mean, sd, shape: drawn.append(sd) or np.zeros(shape)
    )
    layout = Layout.of(nn.Linear(3, 2))
    generator = torch.Generator().manual_seed(1)
    start = torch.randn(layout.size, generator=generator)
    updates = torch.randn(3, layout.size, generator=generator)
    none = torch.zeros(0, dtype=torch.int64)
    multiplier = noise_multiplier(2.0, 1e-5)
    wrapper = DifferentialPrivacyServerSideFixedClipping(FedAvg(), 2 * multiplier, 0.5, 3)
    wrapper.current_arrays = record(layout.state_dict(start, none))
    replies = [
        message(layout.state_dict(start + u, none), **{"num-examples": 10.0}) for u in updates
    ]
    arrays, _ = wrapper.aggregate_train(1, replies)
    fields = {"privacy": "centraldp", "epsilon": 2.0, "clip_norm": 0.5}
    scenario = Scenario(**fields, num_clients=3, fraction_train=1.0)
    mechanism = over(scenario, Facts(0, layout, (10,) * 3, (1,) * 3))
    cohort = Cohort((0, 1, 2), updates, none.expand(3, 0), (10,) * 3, (1,) * 3, (None,) * 3)
    state = ServerState(start, none)
    sent = mechanism.privatise(state, cohort, 1)
    made = scenario.parts.strategy.aggregate(state, sent, layout.num_parameters).vector
    for name, tensor in layout.state_dict(made, none).items():
        np.testing.assert_allclose(arrays[name].numpy(), tensor.numpy(), atol=1e-6)
    assert drawn[0] == pytest.approx(mechanism.sigma)


def test_noise_has_the_stated_deviation_and_is_never_the_same() -> None:
    mod = PrivateUpdates(epsilon=8.0, clip_norm=0.5)
    state = {"w": torch.zeros(100, 100)}
    one, two = (mod.private(record(state), record(state))["w"].numpy() for _ in range(2))
    assert one.std() == pytest.approx(mod.sigma, rel=0.05) == pytest.approx(0.6002, rel=0.05)
    assert not np.array_equal(one, two)
    assert one.dtype == np.float32


@pytest.mark.parametrize("buffers", ["local", "frozen", "released"])
def test_buffers_by_policy(buffers) -> None:
    start = model(1)
    end = moved(start, 0.1)
    mod = PrivateUpdates(epsilon=1.0, clip_norm=100.0, buffers=buffers, noise=Silence())
    node, seen = context(), []

    def call_next(m, c):
        seen.append(m.content["arrays"]["1.running_mean"].numpy())
        return message(end)

    for _ in range(2):
        sent = mod(message(start), node, call_next).content["arrays"]
    released = buffers == "released"
    wanted = (end if released else start)["1.running_mean"].numpy()
    np.testing.assert_allclose(sent["1.running_mean"].numpy(), wanted, atol=1e-6)
    assert int(sent["1.num_batches_tracked"].numpy()) == (8 if released else 0)
    trained_on = (end if buffers == "local" else start)["1.running_mean"].numpy()
    np.testing.assert_allclose(seen[1], trained_on, err_msg="the second participation's buffers")


def test_head_only_and_a_model_without_one() -> None:
    start = model(1)
    end = moved(start, 0.1)
    end["2.weight"] = start["2.weight"] + 0.01
    mod = PrivateUpdates(epsilon=1.0, released="head", noise=Silence())
    sent = mod.private(record(start), record(end))
    np.testing.assert_array_equal(sent["0.weight"].numpy(), start["0.weight"].numpy())
    np.testing.assert_allclose(sent["2.weight"].numpy(), end["2.weight"].numpy(), atol=1e-7)
    with pytest.raises(PrivacyError, match="this one has none"):
        mod.private(record({"w": torch.zeros(3)}), record({"w": torch.zeros(3)}))


def test_zero_and_nan_updates() -> None:
    state = {"w": torch.ones(3)}
    for bad in (0.0, float("nan"), float("inf")):
        mod = PrivateUpdates(epsilon=1.0, noise=Silence())
        sent = mod.private(record(state), record({"w": torch.ones(3) + bad}))
        assert sent["w"].numpy().tolist() == [1.0, 1.0, 1.0]


def test_the_budget_refuses_with_the_statement_before_training() -> None:
    """At epsilon 1 two releases cost 1.465, three 1.835."""
    mod = PrivateUpdates(epsilon=1.0, epsilon_budget=1.5)
    node, calls, state = context(), [], {"w": torch.zeros(3)}
    for _ in range(2):
        mod(message(state), node, lambda m, c: calls.append(1) or message(state))
    with pytest.raises(PrivacyError, match=r"epsilon_budget=1.5. So far: 2 releases, .* 1\.465"):
        mod(message(state), node, lambda m, c: calls.append(1) or message(state))
    assert len(calls) == 2
    # a node of its own has an account of its own
    mod(message(state), context(), lambda m, c: message(state))


def test_what_is_no_training_passes() -> None:
    mod = PrivateUpdates(epsilon=1.0)
    reply = object()
    assert mod(message({}, "evaluate"), context(), lambda m, c: reply) is reply
    failed = SimpleNamespace(has_error=lambda: True)
    node = context()
    assert mod(message({"w": torch.zeros(1)}), node, lambda m, c: failed) is failed
    assert not node.state, "no release, no cost"


def test_other_arrays_than_the_servers_are_refused() -> None:
    mod = PrivateUpdates(epsilon=1.0)
    with pytest.raises(PrivacyError, match="other names than the server's"):
        mod(
            message({"w": torch.zeros(1)}),
            context(),
            lambda m, c: message({"v": torch.zeros(1)}),
        )


def test_bad_arguments_are_all_listed() -> None:
    with pytest.raises(PrivacyError) as caught:
        PrivateUpdates(epsilon=0, delta=1.25, clip_norm=-1, neighbours="x", released="y")
    for text in ("epsilon must be", "delta must be in (0, 1)", "clip_norm", "neighbours", "y'"):
        assert text in str(caught.value)
    with pytest.raises(PrivacyError, match="epsilon_budget must be >= epsilon"):
        PrivateUpdates(epsilon=2.0, epsilon_budget=1.0)
