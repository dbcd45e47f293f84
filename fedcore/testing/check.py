"""`check_component`: the generated checks of a component, as scikit-learn's `check_estimator`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fedcore.components.component import Component
from fedcore.components.kinds import SINGLE
from fedcore.errors import FedcoreError, ScenarioError
from fedcore.scenario import Scenario
from fedcore.testing import parts, runs, values

_STEPS = "preaggregation"
#: Small enough for a second, with clients of unequal work.
BASE: dict[str, Any] = {
    "dataset": "synthetic:320",
    "model": "mlp",
    "num_clients": 8,
    "fraction_train": 1.0,
    "rounds": 2,
    "local_epochs": (1, 2),
    "optimizer": "sgd",
}
_ATTACKED = {"malicious_fraction": 0.25}


def check_component(component: Component, *, seed: int = 0, **scenario: Any) -> None:
    """Run all checks on ``component``, an object of any kind; about two seconds.

    Of the value: equal to its copies, hashable, picklable; its written form reads back; its
    parameters refuse what they do not take, and tell scenarios' hashes and ids apart. In runs: the
    same bits when repeated, on two processes and over Flower's messages where flwr is installed;
    the same numbers within rounding on the stacked engine and in lockstep, unless that refuses
    it; the audit, the evidence of training and the identity check find nothing. Then what each kind
    promises: see `fedcore.testing.parts`.

    ``scenario`` are fields of the scenario that the runs make, where the component needs more than
    a small one: other data, more clients. Raises AssertionError with every check that fails, and
    TypeError for what is no component.

    >>> from fedcore.attacks.updates.signflip import SignFlip
    >>> check_component(SignFlip(stretch=2.0))
    """
    kind = getattr(component, "kind", None)
    if not isinstance(component, Component) or kind not in (*SINGLE, _STEPS):
        raise TypeError(
            f"check_component takes an object of a component such as Krum(num_byzantine=1), got "
            f"{component!r}"
        )
    component = parts.prepared(component)
    problems: list[str] = []
    chosen = None
    try:  # which gives a class that is not registered its import path as a name
        chosen = _scenario(component, scenario)
    except ScenarioError as error:
        problems += [f"scenario: {text}" for text in error.problems]
    except FedcoreError as error:
        problems.append(f"scenario: {error}")
    problems += _told("value", lambda: values.problems(component))
    if chosen is not None:
        problems += _told("name", lambda: values.naming_problems(component, chosen))
        problems += _told("part", lambda: parts.problems(component, chosen, seed))
        problems += _told("run", lambda: runs.problems(chosen, seed))
    if problems:
        name = component.name or type(component).__name__
        lines = "\n  - ".join(problems)
        raise AssertionError(f"{kind} {name!r} fails {len(problems)} checks:\n  - {lines}")


def _scenario(component: Component, fields: dict[str, Any]) -> Scenario:
    """A small scenario with ``component``."""
    given = {**BASE, component.kind: component, **fields}
    if component.kind == "attack":
        given = {**_ATTACKED, **given}
    if component.kind == _STEPS:
        given[_STEPS] = (component,)
    return Scenario(**given)


def _told(what: str, check: Callable[[], Iterator[str]]) -> Iterator[str]:
    """The problems that ``check`` finds, and what it raises as one more."""
    try:
        for text in check():
            yield f"{what}: {text}"
    except FedcoreError as error:
        yield f"{what}: {type(error).__name__}: {error}"
    except Exception as error:  # whatever a foreign component raises is a problem of it
        yield f"{what}: raises {type(error).__name__}: {error}"
