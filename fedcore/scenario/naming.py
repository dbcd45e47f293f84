"""Readable names of scenarios: tokens of [a-z0-9.] joined by '-'. Names tell scenarios apart.

An id names strategy, partition and attack, then every field in which the scenario differs from a
reference, each in a token that no other field can have. Where the characters of a token do not
hold all of a text, the token ends in ``.sha`` and 8 hexadecimal digits of the SHA-256 of the text.
So two scenarios have one id, relative to one reference, only if they are equal.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fedcore.scenario import validation

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

# Tokens of these come first, in this order, and begin as given here; those of all other fields
# begin with the field's own name. Without a prefix, what is named must be no other field's token.
_PREFIXES = {
    "dataset": "",
    "model": "",
    "image_size": "px",
    "norm": "norm",
    "weights": "weights",
    "optimizer": "",
    "mu": "mu",
    "momentum": "rho",
    "lr": "lr",
    "local_epochs": "epochs",
    "server_momentum": "gmf",
    "server_lr": "slr",
    "num_byzantine": "f",
    "num_selected": "m",
    "trim_fraction": "trim",
    "beta_2": "beta",
    "tau": "tau",
    "norm_bound": "bound",
    "aggregation_iterations": "iter",
    "smoothing": "nu",
    "num_clients": "clients",
    "fraction_train": "cohort",
    "rounds": "rounds",
    "privacy": "",
    "epsilon": "epsilon",
    "noise_multiplier": "noise",
    "delta": "delta",
    "clip_norm": "clip",
    "sensitivity": "sensitivity",
    "neighbours": "",
    "released": "",
    "buffers": "buffers",
    "epsilon_budget": "budget",
}


_HEAD = ("strategy", "strategy_spec", "client_mods", "partition", "attack", "redraw")
#: Parameters of every attack.
SHARES = ("malicious_fraction", "poison_ratio")
_NUMBER = r"\d[\d.]*(?:em?\d+)?"
_SHARE = rf"(?:mal|poison){_NUMBER}pct|redraw(?:false)?"
_DIGEST = re.compile(r"(?:^|\.)sha[0-9a-f]{8}$")
#: Strategies that ship with Flower: for these the class name alone says which one is meant.
_FLOWER = "flwr.serverapp.strategy"
_FLOWER_CLASSES = (
    *("Bulyan", "FedAdagrad", "FedAdam", "FedAvg", "FedAvgM", "FedMedian", "FedProx"),
    *("FedTrimmedAvg", "FedYogi", "Krum", "MultiKrum", "QFedAvg"),
)


def token(value: object) -> str:
    """``value`` in the characters [a-z0-9.]: ``mobilenet_v2`` -> ``mobilenetv2``.

    Different numbers have different tokens; texts may share one, see `identifier`.
    """
    if isinstance(value, float):
        short = f"{value:g}"
        text = short if float(short) == value else repr(value)
        return text.replace("-", "m").replace("+", "")
    if isinstance(value, tuple):
        return "to".join(token(item) for item in value)
    return _letters(str(value))


@functools.lru_cache(maxsize=4096)
def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", text.lower())


def percent(fraction: float) -> str:
    """A share in percent: 0.3 -> ``30pct``. Different shares have different tokens."""
    exact, rounded = Decimal(repr(fraction)).scaleb(2), f"{round(fraction * 100, 6):g}"
    text = rounded if Decimal(rounded) == exact else f"{exact.normalize():f}"
    return f"{text.replace('-', 'm').replace('+', '')}pct"


def strategy_token(scenario: Scenario) -> str:
    """``fednova``; of a Flower strategy package, class and keywords, and its mods' names."""
    spec, mods = scenario.strategy_spec, scenario.client_mods
    if spec is None:
        name = token(scenario.strategy)
        plain = "." not in name and mods is None and _unique("strategy", scenario.strategy)
        return name if plain else _digested("strategy", f"{scenario.strategy} {mods}", name)
    from fedcore.strategies.foreign import Spec, specs  # imports torch

    attached = specs(mods) if mods is not None else []
    name = ".".join([Spec.parse(spec).token, *(mod.token for mod in attached)])
    module, _, cls = spec.partition(":")
    known = scenario.strategy == "flower" and module == _FLOWER and cls in _FLOWER_CLASSES
    if known and mods is None:
        return name
    return _digested("strategy", json.dumps([scenario.strategy, spec, mods]), name)


def partition_token(scenario: Scenario) -> str:
    """``iid``, ``dirichlet0.1``, ``pathological2``."""
    parameter = _partition_parameter(scenario)
    value = None if parameter is None else getattr(scenario, parameter)
    rest = "" if value is None else token(value)
    return _with_parameter("partition", scenario.partition, rest, _NUMBER)


def attack_tokens(scenario: Scenario) -> list[str]:
    """``clean``, or the attack with its two shares."""
    if scenario.attack is None:
        return ["clean"]
    classes = (scenario.source_class, scenario.target_class)
    rest = "" if None in classes else token(classes)
    shares = (
        f"mal{percent(scenario.malicious_fraction)}",
        f"poison{percent(scenario.poison_ratio)}",
    )
    usual = validation.registries()["attack"].entry(scenario.attack).parameters.get("redraw")
    redraw = {True: "redraw", False: None if usual is False else "redrawfalse", None: None}
    name = _with_parameter("attack", scenario.attack, rest, r"\d+to\d+")
    return [name, *shares, *filter(None, [redraw[scenario.redraw]])]


def identifier(
    scenario: Scenario, base: Scenario, usual: Mapping[str, object] | None = None
) -> str:
    """Strategy, partition and attack, then whatever else sets ``scenario`` apart from ``base``.

    A field is not named at its value in ``base``, a parameter not at its component's default, and
    neither at its value in ``usual``. What ``usual`` holds must follow from the components.
    """
    tokens = [strategy_token(scenario), partition_token(scenario), *attack_tokens(scenario)]
    specs = scenario.specs()
    chosen, _ = validation.components({name: getattr(scenario, name) for name in specs})
    defaults: dict[str, object] = {}
    for entry in chosen.values():
        defaults = {**entry.parameters, **defaults}
    usual = {**_usual(base, defaults), **(usual or {})}
    named = {*_HEAD, *SHARES, _partition_parameter(scenario)}
    if None not in (scenario.source_class, scenario.target_class):
        named |= {"source_class", "target_class"}
    for name in dict.fromkeys((*_PREFIXES, *specs)):
        value = getattr(scenario, name)
        if name in named or value == usual[name]:
            continue
        if value is None and name in validation.parameter_names():
            continue  # no chosen component reads it
        tokens.append(field_token(name, value, specs))
    return "-".join(tokens)


def field_token(name: str, value: object, specs: Mapping[str, Any]) -> str:
    """The token of one field outside the head of an id: no other field or value has the same.

    ``specs`` are the scenario's declared fields. None and flags are named: ``pxnone``,
    ``nesterovtrue``.
    """
    prefix = _prefix(name)
    if not isinstance(value, str):
        return f"{name.replace('_', '') if value is None and not prefix else prefix}{token(value)}"
    text = prefix + token(value)
    spec = specs[name]
    if name in validation.registries():
        plain = _unique(name, value) and value != "none"
    elif spec.choices:
        plain = [token(choice) for choice in spec.choices].count(token(value)) == 1
    else:
        plain = token(value) == value and value not in ("", "none")
    if plain and not prefix:
        plain = _readers(text, specs) == [name]
    return text if plain and not _DIGEST.search(text) else _digested(name, value, text)


def apart(named: Sequence[tuple[str, Scenario]]) -> list[str]:
    """The ids in ``named``, where one stands for several scenarios with what differs among these.

    The result does not depend on the order, and equal scenarios keep equal ids.
    """
    sharing: dict[str, dict[Scenario, None]] = {}
    for name, scenario in named:
        sharing.setdefault(name, {})[scenario] = None
    renamed: dict[tuple[str, Scenario], str] = {}
    for name, scenarios in sharing.items():
        if len(scenarios) < 2:
            continue
        specs = next(iter(scenarios)).specs()
        differing = [n for n in specs if len({getattr(s, n) for s in scenarios}) > 1]
        for scenario in scenarios:
            tokens = (field_token(n, getattr(scenario, n), specs) for n in differing)
            renamed[name, scenario] = "-".join([name, *tokens])
    result = [(renamed.get(one, one[0]), one[1]) for one in named]
    taken: dict[str, set[Scenario]] = {}
    for name, scenario in result:
        taken.setdefault(name, set()).add(scenario)
    return [f"{name}-{s.hash}" if len(taken[name]) > 1 else name for name, s in result]


def _usual(base: Scenario, defaults: Mapping[str, object]) -> dict[str, object]:
    """The value of each field that is not named, for components with these ``defaults``."""
    found = {name: getattr(base, name) for name in base.specs()}
    for name, default in defaults.items():
        # a required parameter, which has no default, is always named
        if name in _PREFIXES or found[name] is None:
            found[name] = default
    return found


def _prefix(name: str) -> str:
    return _PREFIXES.get(name, name.replace("_", ""))


def _digested(field: str, text: str, name: str) -> str:
    """``name`` with a digest of the ``text`` that it does not hold all of."""
    sha = hashlib.sha256(f"{field}={text}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return ".".join(filter(None, (name, f"sha{sha}")))


def _partition_parameter(scenario: Scenario) -> str | None:
    """The field that follows the name of the partition."""
    read = validation.registries()["partition"].entry(scenario.partition).parameters
    return next((name for name in ("alpha", "classes_per_client") if name in read), None)


def _with_parameter(kind: str, name: str, rest: str, form: str) -> str:
    """``name`` with ``rest``, of the ``form`` of all such parameters, or none."""
    text = token(name) + rest
    others = [token(other) for other in validation.registries()[kind] if other != name]
    clash = any(re.fullmatch(re.escape(other) + form, text) for other in others)
    plain = _unique(kind, name) and not clash and not _DIGEST.search(text)
    return text if plain else _digested(kind, f"{name} {rest}", text)


def _unique(kind: str, name: str) -> bool:
    """Whether the token of the registered ``name`` says which one is meant, and with what."""
    registered, _, rest = name.partition(":")
    short = token(name)
    others = [token(o) for o in validation.registries()[kind] if o != registered]
    if kind == "dataset" and ":" in name:
        whole = rest != "" and token(rest) == rest
        return whole and not any(short.startswith(other) for other in others)
    return bool(short) and (short == name or short not in others)


def _readers(text: str, specs: Mapping[str, Any]) -> list[str]:
    """The fields that could have ``text`` as a token, but for those with a digest."""
    found = [] if not re.fullmatch(_SHARE, text) else ["redraw"]
    registries = validation.registries()
    for name, spec in specs.items():
        if name in _HEAD or name in SHARES:
            continue
        prefix = _prefix(name)
        own = {f"{prefix or name.replace('_', '')}none"}
        if name in registries:
            names = [prefix + token(registered) for registered in registries[name]]
            start = name == "dataset" and text.startswith(tuple(names))
            reads = start or text in {*names, *own}
        elif spec.choices:
            reads = text in {*own, *(prefix + token(choice) for choice in spec.choices)}
        elif spec.type is bool:
            reads = text in {*own, f"{prefix}true", f"{prefix}false"}
        elif spec.type is str:
            reads = text.startswith(prefix)
        else:
            number = rf"{re.escape(prefix)}{_NUMBER}(?:to{_NUMBER})?"
            reads = text in own or re.fullmatch(number, text) is not None
        if reads:
            found.append(name)
    return found
