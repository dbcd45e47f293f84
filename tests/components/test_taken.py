"""Names that scenarios and components use themselves: no parameter can have one."""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

import pytest

from fedcore.attacks.attack import UpdateAttack
from fedcore.cli.run_command import add_arguments
from fedcore.components import Component, param
from fedcore.components.taken import FIELDS, MEMBERS, OPTIONS
from fedcore.scenario import Scenario
from fedcore.scenario.scenario import own_specs
from fedcore.scenario.wire import MIRRORED

OWN = [name for name in (*vars(Component), *Component.__annotations__) if name[0] != "_"]


def declared(name: str, base: type[Component] = Component) -> Any:
    """A class with a parameter ``name``."""
    body = {"__annotations__": {name: "int"}, name: param("has a name", default=1)}
    return type("Half", (base,), {"__module__": __name__, **body})


def test_the_lists_are_those_of_the_scenario() -> None:
    assert {*own_specs(), "parts"} - {MIRRORED} == FIELDS
    public = {name for name in dir(Scenario) if not name.startswith("_")}
    assert public - set(own_specs()) == MEMBERS


def test_the_options_are_those_of_the_command() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flags = {action.dest for action in parser._actions}
    assert flags - {*Scenario.specs()} == OPTIONS


@pytest.mark.parametrize("name", sorted({*FIELDS, *MEMBERS, *OPTIONS, *OWN}))
def test_a_taken_name_is_refused_where_the_class_is_made(name: str) -> None:
    with pytest.raises(TypeError) as caught:
        declared(name)
    text = str(caught.value)
    assert text.startswith(f"Half.{name}: ")
    assert f"{name!r}" in text
    assert text.endswith(f"choose another name, such as 'my_{name}'")


def test_the_message_says_who_has_the_name() -> None:
    expected = {
        "hash": "a scenario has the member 'hash' itself",
        "lr": "a scenario has the field 'lr' itself",
        "name": "components have the member 'name' themselves",
    }
    for name, text in expected.items():
        with pytest.raises(TypeError, match=text):
            declared(name)
    with pytest.raises(TypeError, match=r"Half\._depth: a parameter does not begin with '_'"):
        declared("_depth")


def test_a_parameter_does_not_replace_a_method_of_a_base_class() -> None:
    with pytest.raises(TypeError, match=r"Half\.craft: components have the member 'craft'"):
        declared("craft", UpdateAttack)


def test_names_of_parameters_in_use_stay() -> None:
    class Base(Component):
        tau: float = param("one", default=1.0)
        steady: ClassVar[bool] = False

    class Further(Base):
        tau: float = param("another default", default=2.0)
        steady: bool = param("a plain attribute of the base class", default=True)  # type: ignore[misc]

    assert (Further().tau, Further().steady, Base.steady) == (2.0, True, False)
    for name in (MIRRORED, "norm", "mu", "redraw", "target", "of"):
        assert list(declared(name).specs()) == [name]
