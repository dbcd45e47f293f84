"""Classes that are registered with keywords and do not own their parameters yet.

To be removed with the last of them: a scenario holds an object of a class that is made here, which
has the parameters and asks the registered class for its preconditions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from fedcore.components.component import Component
from fedcore.components.parameters import DECLARED, REQUIRED, Spec, param
from fedcore.errors import RegistrationError


class OldComponent:
    """Base of classes that are told their parameters by a scenario."""

    uses: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def problems(cls, scenario: Any) -> list[str]:
        """Preconditions that ``scenario`` breaks, each as a message; no data are at hand here."""
        return []


_OPEN: dict[str, Any] = {"low": 0, "open_low": True}
_SHARE: dict[str, Any] = {"low": 0, "high": 1, "open_high": True}

#: Type and declaration of the parameters that keywords of `Registry.register` may name.
KNOWN: dict[str, tuple[Any, Any]] = {
    "norm": (
        str,
        param("normalisation layers", choices=("none", "batch", "group"), token="norm"),
    ),
    "weights": (
        str,
        param("'imagenet' or a file of pretrained weights; None: random", token="weights"),
    ),
    "alpha": (float, param("Dirichlet concentration", **_OPEN)),
    "classes_per_client": (int, param("classes that a client holds", low=1)),
    "class_assignment": (
        str,
        param("who holds what", choices=("random", "deterministic", "first-deterministic")),
    ),
    "min_partition_size": (int, param("redraw below this many samples", low=0)),
    "self_balancing": (bool, param("stop filling clients above the mean size")),
    "momentum": (float, param("momentum", **_SHARE, token="rho")),
    "dampening": (float, param("momentum's dampening", low=0, high=1)),
    "nesterov": (bool, param("Nesterov momentum")),
    "mu": (float, param("proximal coefficient", **_OPEN, token="mu", shared=True)),
    "source_class": (int, param("class to poison", low=0)),
    "target_class": (int, param("class to pass it off as", low=0)),
    "redraw": (bool, param("draw the poison anew at every participation")),
    "epsilon": (float, param("privacy loss of one participation", **_OPEN, token="epsilon")),
    "delta": (
        float,
        param("probability that epsilon fails", **_SHARE, open_low=True, token="delta"),
    ),
    "clip_norm": (
        float,
        param("C: longest update (dpsgd: gradient of a sample)", **_OPEN, token="clip"),
    ),
    "neighbours": (
        str,
        param(
            "which change of a client's data is hidden", choices=("replace", "zero-out"), token=""
        ),
    ),
    "released": (
        str,
        param(
            "what clients train and send: all, or the last linear layer",
            choices=("whole", "head"),
            token="",
        ),
    ),
    "buffers": (
        str,
        param(
            "what becomes of running statistics",
            choices=("local", "frozen", "released"),
            token="buffers",
        ),
    ),
    "noise_multiplier": (
        float,
        param("noise of a DP-SGD step over clip_norm", **_OPEN, token="noise"),
    ),
    "sensitivity": (
        float,
        param("what LocalDpMod is told, whatever it clips to", **_OPEN, token="sensitivity"),
    ),
    "epsilon_budget": (
        float,
        param("total of a client before which the run ends", **_OPEN, token="budget"),
    ),
}
_NAMED = (("alpha",), ("classes_per_client",), ("source_class", "target_class"))
_KINDS = ("dataset", "model", "partition", "optimizer", "attack", "privacy")


def spec_of_old(name: str) -> Spec | None:
    """The declaration of a parameter that `KNOWN` has."""
    if name not in KNOWN:
        return None
    kind, declared = KNOWN[name]
    return Spec(kind, **declared.metadata[DECLARED])


def bridged(
    kind: str, name: str, summary: str, component: Any, defaults: Mapping[str, Any]
) -> type[Component] | None:
    """The class of the objects that stand for the registered ``component`` in a scenario."""
    if kind not in _KINDS:
        return None
    body: dict[str, Any] = {"__module__": component.__module__, "__annotations__": {}}
    for parameter, default in defaults.items():
        if parameter not in KNOWN:
            raise RegistrationError(
                f"{kind} {name!r}: {parameter!r} is no parameter that components of fedcore have; "
                f"declare it in the class, as {parameter}: float = param('its meaning')"
            )
        annotation, declared = KNOWN[parameter]
        metadata = declared.metadata
        given = {} if default is REQUIRED else {"default": default}
        body[parameter] = dataclasses.field(metadata=metadata, **given)
        body["__annotations__"][parameter] = annotation | None if default is None else annotation
    if kind == "attack":
        body["poison_ratio"] = param("share of their samples poisoned", default=0.0, low=0, high=1)
        body["__annotations__"]["poison_ratio"] = float
    if kind == "dataset":
        body["argument"] = param("what follows the colon", default=None)
        body["__annotations__"]["argument"] = str | None
        body["follows"] = "argument"

    def problems(self: Component, scenario: Any) -> list[str]:
        asked = getattr(component, "problems", None)
        return [] if asked is None else list(asked(scenario))

    body["problems"] = problems
    body["uses"] = getattr(component, "uses", ())
    body["named"] = next((n for n in _NAMED if set(n) <= set(defaults)), ())
    made: type[Component] = type(f"{kind.capitalize()}Parameters", (Component,), body)
    made.kind, made.name, made.summary = kind, name, summary
    return made
