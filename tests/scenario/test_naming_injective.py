"""Two scenarios have one id, relative to one reference, only if they are equal."""

from __future__ import annotations

import contextlib
import itertools
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.triggers.square import CORNERS, Square
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.components.registry import REQUIRED
from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario
from fedcore.scenario.absent import FIELDS as ABSENT
from fedcore.scenario.declared import parameter_names, registered, registries
from fedcore.scenario.naming import apart, identifier, percent, token
from fedcore.strategies.foreign import Flower
from tests.scenario.test_scenario_identity import CHANGES

DATASETS = (
    "mnist5k", "npz:/data/a_b.npz", "npz:/data/ab.npz", "npz:a.npz", "npz:A.npz",
    "folder:/data/猫", "folder:/data/犬", "folder:/data/run-1", "folder:/data/run1", "folder:run1",
    "synthetic:100", "holdout:mnist5k", "npz:mlp", "holdout:synthetic:100",
    "holdout:synthetic100", "npz:lr0.1", "npz:", "npz", "npz:a.sha00000000",
)  # fmt: skip
SPECS = (
    "a.b:C",
    "a.b:c",
    "a.c:C",
    "a:C",
    "flwr.serverapp.strategy:Krum",
    "flwr.serverapp.strategy:krum",
    "flwr.serverapp.strategy.krum:Krum",
    "flwr.serverapp.strategy:FedAvg",
    'a.b:C:{"x": 1}',
    'a.b:C:{"x":1}',
    'a.b:C:{"x": "1"}',
    'a.b:C:{"x1": 1}',
    'a.b:C:{"x": 11}',
)
TEXTS = {
    "preaggregation": st.sampled_from(
        ["bucketing", "bucketing(size=3)", "bucketing, bucketing", "bucketing, bucketing(size=3)"]
    ),
    "probe": st.sampled_from(["backdoor", "backdoor(target=1)"]),
    "trigger": st.builds(
        Square, size=st.integers(1, 3), at=st.sampled_from(CORNERS), level=st.sampled_from([0, 9])
    ),
    "of": st.builds(SignFlip, stretch=st.sampled_from([1.0, 2.0]))
    | st.builds(Backdoor, target=st.integers(0, 3), poison_ratio=st.sampled_from([0.3, 0.5])),
    "dataset": st.sampled_from(DATASETS) | st.text(max_size=5).map("npz:{}".format),
    "weights": st.sampled_from(["imagenet", "/w/a_b.pth", "/w/ab.pth", "ab.pth", "none", "NONE"]),
    "strategy_spec": st.sampled_from(SPECS),
    "client_mods": st.sampled_from([*SPECS, '["a.b:C", "a.b:c"]', '["a.b:c", "a.b:C"]']),
}
FLOATS = (0.1, 0.10000000000000002, 0.1234567, 0.12345671, 0.25, 0.3, 0.30000000000000004, 0.5)
FLOATS += (1e-5, 1e-7, 1.0, 2.0, 1e16, 123456.0, 1234567.0, 1234568.0)


def values(name: str) -> st.SearchStrategy[Any]:
    """Values of a field in its range, None aside; few of them, so that fields often coincide."""
    spec = Scenario.specs()[name]
    if name in TEXTS:
        return TEXTS[name]
    if name in registries():
        return st.sampled_from(list(registries()[name]))
    if spec.choices:
        return st.sampled_from(spec.choices)
    if spec.type is bool:
        return st.booleans()
    if spec.type is int:
        numbers = st.integers(max(int(spec.low), 1), max(int(spec.low), 1) + 12)
        return numbers | st.tuples(st.just(1), st.integers(2, 4)) if spec.pair else numbers
    inside = [v for v in FLOATS if not spec.problems(name, v)]
    return st.sampled_from(inside) | st.floats(0.05, 0.45)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Valid scenarios: of eight drawn in a row, of which most break a rule, the first valid one."""
    for _ in range(8):
        with contextlib.suppress(ScenarioError):
            return with_absences(draw, Scenario(**draw(fields())))
    return reject()


def with_absences(draw: st.DrawFn, scenario: Scenario) -> Scenario:
    """``scenario``, one in four with clients that drop out where its strategy takes that."""
    if draw(st.integers(0, 3)):
        return scenario
    names = ABSENT[: draw(st.integers(1, len(ABSENT)))]
    changes = {name: draw(values(name)) for name in names}
    with contextlib.suppress(ScenarioError):  # of a cohort that few strategies take
        return scenario.but(**changes)
    return scenario


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of a scenario, each drawn: any component, any parameter that these read."""
    specs, parameters = Scenario.specs(), parameter_names()
    given = {}
    for name in registries():
        optional = specs[name].optional and draw(st.booleans())
        given[name] = None if optional else draw(values(name))
    chosen = {k: registered(k, name) for k, name in given.items() if name is not None}
    read = [registries()[k].entry(name).parameters for k, name in chosen.items()]
    for name, spec in specs.items():
        if name in given or name in ("malicious_fraction", "poison_ratio", *ABSENT):
            continue
        if name in parameters and not any(name in known for known in read):
            continue
        if name == "probe" and given["attack"] is not None:
            continue  # the attack has its own
        if name == "malicious_set" and given["attack"] is None:
            continue
        needed = any(known.get(name) is REQUIRED for known in read)
        if needed or draw(st.integers(0, 1 if spec.optional else 3)) == 0:
            given[name] = draw(values(name))
    if given["attack"] is not None:
        shares = st.sampled_from([0.3, 0.30000000000000004, 0.5, 1.0]) | st.floats(0.3, 1)
        given["malicious_fraction"] = draw(shares)
        if "poison_ratio" in registries()["attack"].entry(chosen["attack"]).part.specs():
            given["poison_ratio"] = draw(shares)
    return given


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Scenario, Scenario]:
    """A scenario, and the same with up to two fields drawn anew."""
    one = draw(scenarios())
    other = one
    for name in draw(st.lists(st.sampled_from(list(Scenario.specs())), max_size=2)):
        spec = Scenario.specs()[name]
        value = draw(values(name) | st.none() if spec.optional else values(name))
        try:
            other = other.but(**{name: value})
        except ScenarioError:
            continue
    return one, other


FREE = settings(max_examples=80, suppress_health_check=list(HealthCheck), deadline=None)


@FREE
@given(neighbours(), scenarios())
def test_ids_are_equal_only_where_scenarios_are(
    pair: tuple[Scenario, Scenario], base: Scenario
) -> None:
    one, other = pair
    for reference in (Scenario(), base, one):
        names = [identifier(s, reference) for s in pair]
        assert (names[0] == names[1]) == (one == other), names
        assert all(re.fullmatch(r"[a-z0-9.]+(-[a-z0-9.]+)*", name) for name in names)


@FREE
@given(scenarios(), scenarios(), scenarios())
def test_ids_of_unlike_scenarios_differ(a: Scenario, b: Scenario, base: Scenario) -> None:
    assert (identifier(a, base) == identifier(b, base)) == (a == b)


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_has_a_token(field: str) -> None:
    values, changed = CHANGES[field]
    one = Scenario(**values)
    other = one.but(**{field: changed})
    for reference in (Scenario(), one, other):
        assert identifier(one, reference) != identifier(other, reference)


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ({}, {"batch_size": 8}, ("", "batchsize8")),
        ({}, {"nesterov": True}, ("", "nesterovtrue")),
        ({}, {"weight_decay": 1e-4}, ("", "weightdecay0.0001")),
        ({}, {"allow_incomplete": True}, ("", "allowincompletetrue")),
        ({}, {"normalize": "imagenet"}, ("", "normalizeimagenet")),
        ({"lr": 0.1234567}, {"lr": 0.12345671}, ("lr0.1234567", "lr0.12345671")),
        ({"lr": 1e-5}, {"lr": 1.0000001e-5}, ("lr1em05", "lr1.0000001em05")),
        ({"dataset": "synthetic:100"}, {"dataset": "synthetic:1000"}, ("synthetic100", None)),
        ({"dataset": "npz:ab.npz"}, {"dataset": "npz:a_b.npz"}, ("npzab.npz", None)),
    ],
)
def test_the_shortest_form_that_tells_apart(one, other, names) -> None:
    found = [Scenario(**values).id for values in (one, other)]
    assert found[0] != found[1]
    for name, expected in zip(found, names, strict=True):
        if expected is not None:
            assert name == "-".join(filter(None, ("fedavg-iid-clean", expected)))


def test_what_a_token_loses_is_in_its_digest() -> None:
    # printf %s 'dataset=npz:/data/ab.npz' | sha256sum
    assert Scenario(dataset="npz:/data/ab.npz").id == "fedavg-iid-clean-npzdataab.npz.shabb0fa7ef"
    names = {Scenario(dataset=f"folder:/data/{name}").id for name in ("run-1", "run1", "猫", "犬")}
    assert len(names) == 4
    krum = "flwr.serverapp.strategy:Krum"
    specs = [krum, f"{krum}:{{}}", krum.lower(), f'{krum}:{{"a_b": 1}}', f'{krum}:{{"ab": 1}}']
    ids = [Scenario(strategy="flower", strategy_spec=spec).id for spec in specs]
    assert ids[0] == "flower.krum-iid-clean"
    assert len(set(ids)) == len(ids)


def test_what_has_no_value_is_named_where_the_reference_has_one() -> None:
    base = Scenario(image_size=32, partition_seed=3)
    assert identifier(Scenario(), base) == "fedavg-iid-clean-pxnone-partitionseednone"
    private = Scenario(privacy="clip")
    assert identifier(Scenario(), private) == "fedavg-iid-clean-privacynone"
    assert identifier(Scenario(), Scenario(grayscale=True)) == "fedavg-iid-clean-grayscalefalse"


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch):
    """Registers further names as copies of a component of the kind, for one test."""

    def add(kind: str, like: str, name: str, **parameters: Any) -> None:
        registry = registries()[kind]
        known = registry.entry(like)
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        registry.register(name, "", **(parameters or known.parameters))(known.component)

    return add


def test_a_name_that_reads_like_another_fields_token_gets_a_digest(register) -> None:
    for name in ("lr0.1", "mlp", "f3", "mal30pct", "redraw", "head", "weightsimagenet", "pxnone"):
        register("dataset", "mnist5k", name)
        assert re.fullmatch(
            rf"fedavg-iid-clean-{name}\.sha[0-9a-f]{{8}}", Scenario(dataset=name).id
        )
    # the other way round, the model now shares its token with a data set
    assert Scenario(model="mlp").id.startswith("fedavg-iid-clean-mlp.sha")


def test_names_that_differ_in_their_signs_alone_are_told_apart(register) -> None:
    assert Scenario(model="mobilenet_v2").id == "fedavg-iid-clean-mobilenetv2"
    register("model", "mobilenet_v2", "mobilenetv2")
    assert Scenario(model="mobilenetv2").id == "fedavg-iid-clean-mobilenetv2"
    assert Scenario(model="mobilenet_v2").id.startswith("fedavg-iid-clean-mobilenetv2.sha")


def test_heads_whose_name_and_number_run_together_are_told_apart(register) -> None:
    register("partition", "iid", "dirichlet0.5")
    register("partition", "pathological", "pathological1", classes_per_client=REQUIRED)
    register("strategy", "fedavg", "flower.krum")
    skewed = [
        {"partition": "dirichlet", "alpha": 0.5},
        {"partition": "dirichlet0.5"},
        {"partition": "pathological", "classes_per_client": 12},
        {"partition": "pathological1", "classes_per_client": 2},
        {"strategy": "flower.krum"},
        {"strategy": "flower", "strategy_spec": "flwr.serverapp.strategy:Krum"},
    ]
    names = [Scenario(**values).id for values in skewed]
    assert len(set(names)) == len(names)
    assert names[0] == "fedavg-dirichlet0.5-clean"
    assert issubclass(registries()["strategy"]["flower"], Flower)


@given(st.floats(0, 1), st.floats(0, 1))
@example(0.3, 0.30000000000000004)
@example(0.0012345, 0.00123450000001)
def test_different_numbers_have_different_tokens(a: float, b: float) -> None:
    assert (percent(a) == percent(b)) == (a == b)
    assert (token(a) == token(b)) == (a == b)


def test_cells_that_share_an_id_are_named_by_what_differs() -> None:
    few, many = (Scenario(num_clients=n) for n in (4, 20))
    names = apart([("x", few), ("x", many), ("y", many), ("x", few)])
    assert names == ["x-clients4", "x-clients20", "y", "x-clients4"]
    assert apart([("x", few), ("x", few)]) == ["x", "x"]
    three = [few, many, Scenario(num_clients=4, batch_size=8)]
    expected = ["x-clients4-batchsize32", "x-clients20-batchsize32", "x-clients4-batchsize8"]
    for order in itertools.permutations(range(3)):
        assert apart([("x", three[i]) for i in order]) == [expected[i] for i in order]
    # a name that another cell has already
    taken = apart([("x", few), ("x", many), ("x-clients4", many)])
    assert taken == [f"x-clients4-{few.hash}", "x-clients20", f"x-clients4-{many.hash}"]


@FREE
@given(neighbours(), st.booleans())
def test_any_two_scenarios_under_one_name_are_told_apart(pair, swap: bool) -> None:
    named = [("x", scenario) for scenario in pair]
    names = apart(named)
    assert (names[0] == names[1]) == (pair[0] == pair[1])
    if swap:
        assert apart(named[::-1]) == names[::-1]
