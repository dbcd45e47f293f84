"""Defaults of parameters: what the declaration forbids is refused, the rest is canonical."""

from __future__ import annotations

from typing import Literal as Literal

import pytest

from fedcore.attacks.trigger import Trigger as Trigger
from fedcore.attacks.updates.signflip import SignFlip
from fedcore.components import Component, param


@pytest.mark.parametrize(
    ("annotation", "declared", "problem"),
    [
        ("float", param("x", default="abc"), "value must be a number, got 'abc'"),
        ("int", param("x", default=5, high=3, low=0), "value must be in [0, 3], got 5"),
        ("int", param("x", default=0.5), "value must be an integer, got 0.5"),
        ("str", param("x", default="c", choices=("a", "b")), "value must be one of a, b, got 'c'"),
        ("Literal['a', 'b']", param("x", default="c"), "value must be one of a, b, got 'c'"),
        (
            "tuple[int, int]",
            param("x", default=(1, 2, 3)),
            "value must be a tuple of 2 integers, got",
        ),
        (
            "int | tuple[int, int]",
            param("x", default=(3, 1)),
            "value must be an integer or (lowest,",
        ),
        ("Trigger", param("x", default=SignFlip()), "value must be trigger Trigger, got SignFlip"),
    ],
)
def test_a_default_that_its_declaration_forbids_is_refused(annotation, declared, problem) -> None:
    body = {"__module__": __name__, "__annotations__": {"value": annotation}, "value": declared}
    with pytest.raises(TypeError) as caught:
        type("Half", (Component,), body)
    assert str(caught.value).startswith(f"Half.value: its own default: {problem}")


def test_a_default_is_in_its_canonical_type() -> None:
    class Half(Component):
        share: float = param("an integer", default=1)
        given: float | None = param("nothing", default=None, low=3)
        place: tuple[float, ...] = param("integers", default=(1, 2))

    specs = Half.specs()
    assert [repr(specs[name].default) for name in specs] == ["1.0", "None", "(1.0, 2.0)"]
    assert repr(Half.checked({}).share) == "1.0"
    assert Half().spelled() == Half.checked({}).spelled()
