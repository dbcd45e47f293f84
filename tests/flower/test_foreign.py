"""Unmodified Flower strategies and mods as arms of the suite."""

from __future__ import annotations

import json
import random
from importlib.metadata import version

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

from fedcore.engine.execution import Execution
from fedcore.errors import FedcoreError, ScenarioError
from fedcore.flower.foreign import build
from fedcore.flower.local import quiet
from fedcore.origin import sources
from fedcore.origin.closure import foreign_code
from fedcore.records.provenance import code_of
from fedcore.scenario import Scenario, naming
from fedcore.simulation.runner import run
from fedcore.strategies.foreign import Flower, Spec

STOCK = "flwr.serverapp.strategy:"
SHOWN = [
    'Krum:{"num_malicious_nodes": 1}',
    'MultiKrum:{"num_malicious_nodes": 1, "num_nodes_to_select": 4}',
    'Bulyan:{"num_malicious_nodes": 1}',
    "FedMedian",
    'FedTrimmedAvg:{"beta": 0.2}',
    "FedAdam",
    "FedYogi",
]
quiet()


def foreign(tiny: Scenario, spec: str, **changes) -> Scenario:
    return tiny.but(
        strategy="flower", strategy_spec=STOCK + spec, num_clients=7, rounds=2, model="mlp",
        norm="none", **changes,
    )  # fmt: skip


@pytest.mark.parametrize("spec", SHOWN)
def test_stock_strategies_run_and_repeat(tiny: Scenario, spec: str) -> None:
    scenario = foreign(tiny, spec)
    random.seed(1)
    one = run(scenario, device="cpu")
    random.seed(2)
    other = run(scenario, device="cpu")
    assert one.engine == "flower-grid"
    assert (one.model_digest, one.accuracy) == (other.model_digest, other.accuracy)
    assert one.diverged is None
    assert one.audit.excluded == ()


def test_theirs_agree_with_ours_where_the_rules_are_the_same(tiny: Scenario) -> None:
    """FedAvg's arithmetic is another; the model is the same to rounding, and so is the accuracy."""
    theirs = run(foreign(tiny, "FedAvg"), device="cpu")
    ours = run(foreign(tiny, "FedAvg").but(strategy="fedavg"), device="cpu")
    assert theirs.loss == pytest.approx(ours.loss, rel=1e-5)
    assert theirs.audit.cohorts == ours.audit.cohorts


def test_our_rules_and_global_generators_are_left_alone(tiny: Scenario) -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    run(foreign(tiny, "FedAvg"), device="cpu")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


LOCAL_DP = (
    'flwr.clientapp.mod:LocalDpMod:{"clipping_norm": 1.0, "sensitivity": 1.0, "epsilon": 8.0, '
    '"delta": 1e-5}'
)
CLIENT_DP = (
    'DifferentialPrivacyClientSideFixedClipping:{"strategy": "flwr.serverapp.strategy:FedAvg", '
    '"noise_multiplier": 0.1, "clipping_norm": 1.0, "num_sampled_clients": 7}'
)


def test_mods_are_attached_and_repeat(tiny: Scenario) -> None:
    clean = run(foreign(tiny, "FedAvg"), device="cpu")
    noisy = foreign(tiny, "FedAvg", client_mods=LOCAL_DP)
    one, other = run(noisy, device="cpu"), run(noisy, device="cpu")
    assert one.model_digest == other.model_digest != clean.model_digest
    assert run(noisy, seed=1, device="cpu").model_digest != one.model_digest


MOD = "flwr.clientapp.mod:"
WRAPPERS = {
    "ClientSideFixedClipping": ({"clipping_norm": 1.0}, MOD + "fixedclipping_mod"),
    "ServerSideFixedClipping": ({"clipping_norm": 1.0}, None),
    "ClientSideAdaptiveClipping": ({"initial_clipping_norm": 1.0}, MOD + "adaptiveclipping_mod"),
    "ServerSideAdaptiveClipping": ({"initial_clipping_norm": 1.0}, None),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_privacy_wrappers_as_they_are(tiny: Scenario, name: str) -> None:
    """Around another strategy: what they add repeats, depends on the seed, and is there."""
    bounds, mod = WRAPPERS[name]

    def scenario(noise: float) -> Scenario:
        keywords = {
            "strategy": STOCK + 'Krum:{"num_malicious_nodes": 1}',
            "noise_multiplier": noise,
            "num_sampled_clients": 7,
            **bounds,
        }
        spec = f"DifferentialPrivacy{name}:{json.dumps(keywords)}"
        return foreign(tiny, spec, client_mods=mod)

    one, other = run(scenario(0.1), device="cpu"), run(scenario(0.1), device="cpu")
    assert one.diverged is None
    assert one.model_digest == other.model_digest
    assert one.model_digest != run(scenario(0.2), device="cpu").model_digest
    assert one.audit.excluded == ()


def test_the_clip_of_a_mod_is_the_one_that_was_named(tiny: Scenario) -> None:
    """Two mods, both at work: updates clipped to nothing leave the model where it was."""
    tight = MOD + 'LocalDpMod:{"clipping_norm": 1e-9, "sensitivity": 1e-9, "epsilon": 8.0, '
    both = json.dumps([tight + '"delta": 1e-5}', MOD + "message_size_mod"])
    still = run(foreign(tiny, "FedAvg", client_mods=both), device="cpu")
    assert still.loss[0] == pytest.approx(still.loss[-1], abs=1e-5)
    moved = run(foreign(tiny, "FedAvg"), device="cpu")
    assert abs(moved.loss[0] - moved.loss[-1]) > 1e-3


@pytest.mark.parametrize("spec", [CLIENT_DP, 'FedProx:{"proximal_mu": 0.1}'])
def test_what_clients_do_not_read_is_refused(tiny: Scenario, spec: str) -> None:
    with pytest.raises(FedcoreError, match="which they do not read: say it in the scenario"):
        run(foreign(tiny, spec), device="cpu")


def test_a_failing_strategy_is_named(tiny: Scenario) -> None:
    with pytest.raises(
        FedcoreError, match=r"strategy flwr.*FedAvg.* failed in round 1: Inconsistent"
    ):
        run(foreign(tiny, 'FedAvg:{"weighted_by_key": "n"}'), device="cpu")


def test_a_wrapper_reports_whom_it_left_out_and_the_run_goes_on(tiny: Scenario) -> None:
    spec = (
        'fedcore.flower.hardened:Hardened:{"strategy": "flwr.serverapp.strategy:FedAvg", '
        '"max_examples": 40}'
    )
    scenario = foreign(tiny, "FedAvg").but(
        strategy_spec=spec, partition="dirichlet", alpha=0.5, min_partition_size=2
    )
    record = run(scenario, device="cpu")
    large = {client for client, size in enumerate(record.audit.samples) if size > 40}
    assert large
    assert {(e.round, e.client) for e in record.audit.excluded} == {
        (round, client) for round in (1, 2) for client in large
    }


def test_privacy_of_ours_is_refused() -> None:
    with pytest.raises(ScenarioError, match="cannot be combined with privacy='localdp'"):
        Scenario(
            strategy="flower", strategy_spec=STOCK + "FedAvg", privacy="localdp", epsilon=1.0,
            delta=1e-5, clip_norm=1.0,
        )  # fmt: skip


def test_engines(tiny: Scenario) -> None:
    scenario = foreign(tiny, "FedAvg")
    assert Execution().fitting(scenario).engine == "flower-grid"
    assert Execution(engine="flower-ray").fitting(scenario).engine == "flower-ray"
    assert Execution().fitting(tiny).engine == "auto"
    with pytest.raises(FedcoreError, match=r"cannot run strategy 'flower'.*leave it to auto"):
        Execution(engine="sequential").fitting(scenario)


class Own(Flower):
    """Somebody else's arm by Flower's messages, under a name of its own."""


def test_the_engine_of_a_foreign_strategy_of_others(tiny: Scenario) -> None:
    scenario = tiny.but(strategy=Own(strategy_spec=STOCK + "FedAvg"))
    assert Execution().fitting(scenario).engine == "flower-grid"
    with pytest.raises(FedcoreError, match=r"cannot run strategy '.*Own'.*leave it to auto"):
        Execution(engine="sequential").fitting(scenario)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("flwr.serverapp.strategy.Krum", "strategy_spec must be package.module:Class"),
        ("a:B:{x}", "strategy_spec must be package.module:Class"),
        ("a:B:[1]", "strategy_spec must be package.module:Class"),
    ],
)
def test_a_wrong_form_is_refused_at_construction(spec: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        Scenario(strategy="flower", strategy_spec=spec)
    with pytest.raises(ScenarioError, match="needs strategy_spec"):
        Scenario(strategy="flower")


def test_what_cannot_be_built_is_told() -> None:
    with pytest.raises(FedcoreError, match="cannot be imported"):
        build(Spec.parse("nowhere.at_all:Thing"))
    with pytest.raises(FedcoreError, match="cannot be made from"):
        build(Spec.parse(STOCK + 'FedAvg:{"fractoin": 1}'))
    with pytest.raises(FedcoreError, match="is no Flower strategy"):
        build(Spec.parse("collections:OrderedDict"))


def test_names() -> None:
    scenario = Scenario(strategy="flower", strategy_spec=STOCK + SHOWN[0])
    name, *rest = scenario.id.split("-")
    assert name.startswith("flower.krum.nummaliciousnodes1.sha")  # _ and quotes are lost
    assert rest == ["iid", "clean"]
    mine = Scenario(strategy="flower", strategy_spec="my_lab.rules:Best", client_mods=LOCAL_DP)
    assert naming.strategy_token(mine).startswith("mylab.best.flower.localdpmod.")


def as_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign_code.cache_clear()
    monkeypatch.setattr(sources, "_first", dict[str, object]())


@pytest.mark.parametrize("named", [
    ("my_lab.rules:Best", None),
    (STOCK + 'Wrapper:{"strategy": "my_lab.rules:Best"}', None),
    (STOCK + "FedAvg", "my_lab.rules:mod"),
    (STOCK + "FedAvg", '["flwr.clientapp.mod:LocalDpMod", "my_lab.rules:mod"]'),
])  # fmt: skip
def test_the_key_of_a_stored_run_follows_the_source(tmp_path, monkeypatch, named) -> None:
    """Of a strategy, of the one that it wraps, and of mods."""
    package = tmp_path / "my_lab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    rules = package / "rules.py"
    rules.write_text("one = 1")
    monkeypatch.syspath_prepend(tmp_path)
    digests = set()
    for text in ("one = 1", "one = 2"):
        rules.write_text(text)
        as_a_new_process(monkeypatch)
        scenario = Scenario(strategy="flower", strategy_spec=named[0], client_mods=named[1])
        digests.add(code_of(scenario, "flower-grid").foreign)
    assert len(digests) == 2


def test_a_run_through_flower_has_its_code_and_version_in_its_key() -> None:
    plain, through = (code_of(Scenario(), engine) for engine in ("sequential", "flower-grid"))
    assert through.own == plain.own
    assert set(dict(through.foreign)) == {"flower"}
    assert plain.foreign == ()
    assert dict(through.versions)["flwr"] == version("flwr")
    assert "flwr" not in dict(plain.versions)
