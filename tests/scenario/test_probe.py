"""A scenario without attack that is scored on the probe set of one."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from fedcore.attacks.data.backdoor import Backdoor
from fedcore.attacks.triggers.square import Square
from fedcore.errors import ScenarioError
from fedcore.scenario import Scenario

DOOR = Backdoor(target=2, trigger=Square(size=2), poison_ratio=0.5)
ATTACKED = Scenario(attack=DOOR, malicious_fraction=0.3)


def test_the_written_form_an_object_and_a_twin_are_one() -> None:
    twin = ATTACKED.clean_twin()
    square = "square(at='bottom-right', level=255, size=2)"
    written = f"backdoor(poison_ratio=0.0, target=2, trigger={square})"
    assert twin.probe == written
    assert Scenario(probe=written) == twin
    assert Scenario(probe="backdoor(target=2, trigger=square(size=2))") == twin
    assert Scenario(probe=Backdoor(target=2, trigger=Square(size=2))) == twin
    assert Scenario.from_dict(twin.to_dict()) == twin
    assert pickle.loads(pickle.dumps(twin)) == twin
    assert twin.hash != Scenario().hash
    assert twin.id.startswith("fedavg-iid-clean-probebackdoor")


def test_nothing_is_written_where_nothing_is_probed() -> None:
    assert "probe" not in Scenario().to_dict()
    assert Scenario().probe is None
    flip = Scenario(attack="labelflip", malicious_fraction=0.3, poison_ratio=0.5)
    assert flip.clean_twin() == Scenario()


def test_an_attack_takes_the_place_of_a_probe() -> None:
    assert ATTACKED.clean_twin().but(attack=DOOR, malicious_fraction=0.3) == ATTACKED
    assert ATTACKED.clean_twin().but(rounds=3).probe == ATTACKED.clean_twin().probe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"probe": "labelflip"}, "has no probe set: name an attack that has one"),
        ({"probe": "signflip"}, "has no probe set"),
        ({"probe": "backdor"}, "Did you mean 'backdoor'?"),
        ({"probe": "backdoor(target=-1)"}, "target must be >= 0, got -1"),
        ({"probe": 3}, "probe must be an attack, as backdoor(target=0), got 3"),
        (
            {"probe": "backdoor", "attack": "signflip", "malicious_fraction": 0.3},
            "is for a scenario without attack",
        ),
    ],
    ids=str,
)
def test_what_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError) as error:
        Scenario(**fields)
    assert message in str(error.value)
