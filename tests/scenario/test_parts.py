"""A scenario from objects, written forms, import paths and flat names: one and the same."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from fedcore import Scenario
from fedcore.attacks.attack import Attack, UpdateAttack
from fedcore.attacks.data.labelflip import LabelFlip
from fedcore.attacks.updates.scaled import Scaled
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.components import param
from fedcore.components.kinds import ATTACKS
from fedcore.errors import ScenarioError
from fedcore.models.cnn import Cnn
from fedcore.optimizers.optimizer import Momentum, Proximal
from fedcore.partition.dirichlet import Dirichlet
from fedcore.partition.iid import Iid
from fedcore.privacy.localdp import LocalDp
from fedcore.simulation.lockstep import lockstep_key
from fedcore.strategies.averaging.fedprox import FedProx
from fedcore.strategies.preaggregation.bucketing import Bucketing
from fedcore.strategies.robust.trimmedmean import TrimmedMean

SHARES: dict[str, Any] = {"malicious_fraction": 0.3}
ATTACKED: dict[str, Any] = {**SHARES, "poison_ratio": 0.5}


class Sideways(UpdateAttack):
    """Registered nowhere: known by its import path."""

    by: int = param("steps", default=1, low=1)

    def craft(self, seen):
        return self.by * seen.own


FORMS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        {"partition": "dirichlet", "alpha": 0.1},
        {"partition": "dirichlet(alpha=0.1)"},
        {"partition": Dirichlet(alpha=0.1)},
    ),
    (
        {"strategy": "trimmedmean", "trim_fraction": 0.3},
        {"strategy": "trimmedmean(trim_fraction=0.3)"},
        {"strategy": TrimmedMean(trim_fraction=0.3)},
    ),
    (
        {"attack": "labelflip", "redraw": True, **ATTACKED},
        {"attack": "labelflip(redraw=yes, poison_ratio=0.5)", **SHARES},
        {"attack": LabelFlip(redraw=True), **ATTACKED},
    ),
    (
        {"optimizer": "proximal", "mu": 0.1},
        {"optimizer": "proximal(mu=0.1)"},
        {"optimizer": Proximal(mu=0.1)},
    ),
    (
        {"privacy": "localdp", "epsilon": 2.0},
        {"privacy": "localdp(epsilon=2)"},
        {"privacy": LocalDp(epsilon=2)},
    ),
    ({"norm": "group"}, {"model": "cnn(norm=group)"}, {"model": Cnn(norm="group")}),
    (
        {"preaggregation": "bucketing(size=2)"},
        {"preaggregation": "bucketing"},
        {"preaggregation": (Bucketing(),)},
    ),
]


@pytest.mark.parametrize(("flat", "written", "objects"), FORMS, ids=lambda form: next(iter(form)))
def test_all_forms_are_one_scenario(flat, written, objects) -> None:
    one = Scenario(**flat)
    for form in (written, objects):
        other = Scenario(**form)
        assert other == one
        assert hash(other) == hash(one)
        assert (other.hash, other.id, other.to_dict()) == (one.hash, one.id, one.to_dict())
        assert other.parts == one.parts
    assert Scenario.from_dict(one.to_dict()) == pickle.loads(pickle.dumps(one)) == one
    assert Scenario().but(**objects) == one


def test_parts_are_the_objects_and_names_read_flat() -> None:
    scenario = Scenario(partition=Dirichlet(alpha=0.1), attack="labelflip", **ATTACKED)
    assert scenario.parts.partition == Dirichlet(alpha=0.1)
    assert scenario.parts.attack == LabelFlip(poison_ratio=0.5)
    assert (scenario.partition, scenario.attack, scenario.alpha) == ("dirichlet", "labelflip", 0.1)
    assert scenario.trim_fraction is None
    assert not hasattr(scenario, "alfa")
    with pytest.raises(dataclasses.FrozenInstanceError):
        scenario.alpha = 3  # type: ignore[misc]
    assert "alpha=0.1" in repr(scenario)
    assert scenario.parts.privacy is None


def test_problems_of_all_kinds_come_together() -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario(
            partition="dirichlet(alfa=0.1)",
            strategy="trimmedmean",
            trim_fraction=0.7,
            optimizer="momentun",
            rounds="many",
            classes_per_client=2,
            learning_rate=1,
            preaggregation="bucketng, bucketing(size=1)",
            privacy=Iid(),
        )
    found = caught.value.problems
    expected = [
        "rounds must be an integer, got 'many'",
        "trim_fraction must be in [0, 0.5), got 0.7",
        "size must be >=",
        "partition 'dirichlet' has no parameter 'alfa'. Did you mean 'alpha'?",
        "unknown optimizer 'momentun'. Did you mean 'momentum'?",
        "privacy must be a privacy, got the partition iid",
        "unknown preaggregation 'bucketng'. Did you mean 'bucketing'?",
        "unknown scenario field 'learning_rate'.",
        "partition 'dirichlet' needs alpha (> 0)",
    ]
    assert len(found) == len(expected), found
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True)), found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"partition": "iid", "alpha": 0.1}, r"alpha=0\.1 is read by none .* dirichlet would"),
        ({"partition": Dirichlet(alpha=0.1), "alpha": 0.2}, "alpha is given twice, in partition"),
        ({"partition": "dirichlet(alpha=0.1)", "alpha": 0.2}, "alpha is given twice"),
        ({"partition": 3}, "partition must be a string, got 3"),
        ({"partition": None}, "partition must be given, got None"),
        ({"strategy": Dirichlet(alpha=1)}, r"strategy must be a strategy, got the partition dir"),
        ({"optimizer": "proximal(mu=0.1)", "strategy": "fedprox(mu=0.2)"}, "mu must be the same"),
        ({"attack": "signflip", **ATTACKED}, r"poison_ratio=0\.5 is read by none of the chosen"),
        ({"attack": "labelflip", **SHARES}, "poison_ratio=0 would change nothing"),
        (
            {"attack": "labelflip(poison_ratio=0.2)", **ATTACKED},
            r"poison_ratio is given twice, in attack as 0\.2 and beside it as 0\.5",
        ),
        ({"attack": "nowhere.to.be:Seen", **SHARES}, "module 'nowhere.to.be' cannot be imported"),
        (
            {"attack": "tests.scenario.test_parts:Sidewise", **SHARES},
            "has no 'Sidewise'; did you mean 'Sideways'",
        ),
        ({"attack": SignFlip}, r"attack: SignFlip is a class: write an object, SignFlip\(\)"),
        ({"probe": SignFlip}, r"attack: SignFlip is a class: write an object, SignFlip\(\)"),
        (
            {"partition": Dirichlet},
            r"partition: Dirichlet is a class: .*, Dirichlet\(alpha=\.\.\.\)",
        ),
        ({"preaggregation": (Bucketing,)}, r"Bucketing is a class: write an object, Bucketing\(\)"),
        ({"attack": int}, "attack must be a string, got <class 'int'>"),
        ({"attack": "scaled(of=" * 200 + ")" * 200}, "attack .*: more than 20 brackets within"),
        ({"probe": "scaled(of=" * 200 + ")" * 200}, "attack .*: more than 20 brackets within"),
        ({"preaggregation": "bucketing(" * 200 + ")" * 200}, "[^)]{,300}: more than 20 brackets"),
        ({"preaggregation": "bucketing(size=2"}, "preaggregation .*: a bracket or a quote is not"),
        ({"dataset": "foldr:/x"}, "unknown dataset 'foldr:/x'. Did you mean 'folder'"),
    ],
)
def test_one_clear_message(given, message) -> None:
    with pytest.raises(ScenarioError, match=message) as caught:
        Scenario(**given)
    assert len(caught.value.problems) == 1, caught.value.problems


def test_a_class_inside_a_component_is_explained() -> None:
    with pytest.raises(ScenarioError, match=r"of: SignFlip is a class: write an object, SignFlip"):
        Scaled(of=SignFlip)  # type: ignore[arg-type]


def test_a_value_at_its_default_may_be_given_beside_an_object() -> None:
    one = Scenario(partition=Dirichlet(alpha=0.1), min_partition_size=3)
    assert one == Scenario(partition=Dirichlet(alpha=0.1, min_partition_size=3))
    assert Scenario(partition=Dirichlet(alpha=0.1), alpha=0.1).alpha == 0.1


def test_a_shared_parameter_has_one_value() -> None:
    assert Scenario(strategy=FedProx()).mu == 0.01
    assert FedProx.specs()["mu"].shared
    assert Proximal.specs()["mu"].shared
    assert Scenario(strategy="fedprox", mu=0.3).to_dict()["mu"] == 0.3


def test_a_class_by_its_import_path() -> None:
    path = f"{__name__}:Sideways"
    try:
        one = Scenario(attack=Sideways(by=3), **SHARES)
        assert one == Scenario(attack=f"{path}(by=3)", **SHARES)
        assert (one.attack, one.by) == (path, 3)
        assert Scenario.from_dict(one.to_dict()) == one
        other = one.but(attack=Sideways(by=2))
        assert one.id != other.id
    finally:
        ATTACKS._entries.pop(path, None)


def test_a_local_class_cannot_be_named() -> None:
    class Inside(Attack):
        kind: ClassVar[str] = "attack"

    with pytest.raises(ScenarioError, match="Inside"):
        Scenario(attack=Inside(), **SHARES)


def test_but_replaces_objects() -> None:
    one = Scenario(partition=Dirichlet(alpha=0.1), strategy=TrimmedMean(trim_fraction=0.3))
    assert one.but(alpha=0.2).parts.partition == Dirichlet(alpha=0.2)
    assert one.but(partition="iid").alpha is None
    assert one.but(partition=Dirichlet(alpha=1.0)).min_partition_size == 10
    assert one.but(strategy="trimmedmean").trim_fraction == 0.3  # not replaced
    assert one.but(strategy=TrimmedMean()).trim_fraction == 0.2
    assert one.but(strategy="trimmedmean(trim_fraction=0.2)").trim_fraction == 0.2
    assert one.but(preaggregation=(Bucketing(),)).but(preaggregation=()) == one
    assert one.but() is one
    attacked = one.but(attack="labelflip", **ATTACKED)
    assert attacked.but(attack=None) == one
    assert attacked.but(attack="signflip").poison_ratio == 0.0
    assert attacked.but(poison_ratio=0.9).parts.attack == LabelFlip(poison_ratio=0.9)


def test_rows_are_counted_after_preaggregation() -> None:
    one = Scenario(num_clients=10, fraction_train=0.5)
    assert (one.rows, one.but(preaggregation="bucketing(size=2)").rows) == (5, 3)
    assert "preaggregation" not in one.to_dict()
    assert one.but(preaggregation="bucketing(size=3)").id.endswith("pre.bucketing.size3-clients10")


def test_what_is_known_is_not_mixed_up() -> None:
    """1, 1.0 and True are equal: the cache of what was given keeps them apart."""
    assert Scenario(rounds=1).rounds == 1
    for wrong in (True, 1.0):
        with pytest.raises(ScenarioError, match="rounds must be an integer"):
            Scenario(rounds=wrong)
    assert Scenario(local_epochs=(1, 3)).local_epochs == (1, 3)
    with pytest.raises(ScenarioError, match="local_epochs must be an integer or"):
        Scenario(local_epochs=(True, 3.0))
    assert Scenario(local_epochs=[1, 3]) == Scenario(local_epochs=(1, 3))


def test_runs_train_together_where_their_objects_are_equal() -> None:
    one = Scenario(optimizer=Momentum(momentum=0.5))
    assert lockstep_key(one) == lockstep_key(Scenario(momentum=0.5, strategy="median"))
    for other in ({"momentum": 0.6}, {"lr": 0.1}, {"norm": "group"}, {"image_size": 32}):
        assert lockstep_key(one) != lockstep_key(one.but(**other))
