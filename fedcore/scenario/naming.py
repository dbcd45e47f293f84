"""Readable names of scenarios: tokens of [a-z0-9.] joined by '-'. Names tell scenarios apart.

An id names strategy, partition and attack, then every field in which the scenario differs from a
reference, each in a token that no other field can have. Where the characters of a token do not
hold all of a text, the token ends in ``.sha`` and 8 hexadecimal digits of the SHA-256 of the text.
So two scenarios have one id, relative to one reference, only if they are equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fedcore.components.component import Component, digested, squeeze
from fedcore.components.kinds import PREAGGREGATIONS
from fedcore.components.parameters import Spec
from fedcore.components.written import component, pieces
from fedcore.scenario.declared import parameter_names, parameters, registries
from fedcore.scenario.wire import MIRRORED

if TYPE_CHECKING:
    from fedcore.scenario import Scenario

# After strategy, partition and attack, these come in this order; ``kind.`` stands for parameters of
# the chosen component that have a token of their own. Then all others, which begin with their name.
_ORDER = (
    *("attack.", "partition.", "dataset", "dataset.", "model", "image_size", "model."),
    *("optimizer", "optimizer.", "lr", "local_epochs", "strategy.", "preaggregation"),
    *("num_clients", "fraction_train", "rounds", "privacy", "privacy."),
)
#: Fields whose values need nothing before them in an id.
_BARE = ("dataset", "model", "optimizer", "privacy")

_HEAD = ("strategy", "strategy_spec", "client_mods", "partition", "attack", "redraw")
#: Parameters of every attack.
SHARES = ("malicious_fraction", MIRRORED)
_NUMBER = r"\d[\d.]*(?:em?\d+)?"
_SHARE = rf"(?:mal|poison){_NUMBER}pct|redraw(?:false)?"
_DIGEST = re.compile(r"(?:^|\.)sha[0-9a-f]{8}$")

token = squeeze


def percent(fraction: float) -> str:
    """A share in percent: 0.3 -> ``30pct``. Different shares have different tokens."""
    exact, rounded = Decimal(repr(fraction)).scaleb(2), f"{round(fraction * 100, 6):g}"
    text = rounded if Decimal(rounded) == exact else f"{exact.normalize():f}"
    return f"{text.replace('-', 'm').replace('+', '')}pct"


def strategy_token(scenario: Scenario) -> str:
    """``fednova``; of a Flower strategy package, class and keywords, and its mods' names."""
    part, called = scenario.parts.strategy, scenario.strategy
    if type(part).token is not Component.token:
        chosen: str = part.token()
        return chosen
    name = token(called)
    if _nested(called):
        return digested("strategy", called, name)
    plain = "." not in name and _unique("strategy", called)
    return name if plain else digested("strategy", f"{called} None", name)


def partition_token(scenario: Scenario) -> str:
    """``iid``, ``dirichlet0.1``, ``pathological2``."""
    return _named_token("partition", scenario.partition, scenario.parts.partition, _NUMBER)


def attack_tokens(scenario: Scenario) -> list[str]:
    """``clean``, or the attack with its shares."""
    attack = scenario.parts.attack
    if attack is None:
        return ["clean"]
    shares = [f"mal{percent(scenario.malicious_fraction)}"]
    if MIRRORED in attack.specs():
        shares.append(f"poison{percent(scenario.poison_ratio)}")
    name = _named_token("attack", str(scenario.attack), attack, r"\d+(?:to\d+)?")
    declared = attack.specs().get("redraw")
    usual = None if declared is None else declared.default
    redraw = {True: "redraw", False: None if usual is False else "redrawfalse", None: None}
    return [name, *shares, *filter(None, [redraw[scenario.redraw]])]


def identifier(
    scenario: Scenario, base: Scenario, usual: Mapping[str, object] | None = None
) -> str:
    """Strategy, partition and attack, then whatever else sets ``scenario`` apart from ``base``.

    A field is not named at its value in ``base``, a parameter not at its component's default, and
    neither at its value in ``usual``. What ``usual`` holds must follow from the components.
    """
    tokens = [strategy_token(scenario), partition_token(scenario), *attack_tokens(scenario)]
    specs, names = scenario.declared(), parameter_names()
    usual = {**_usual(scenario, base, specs), **(usual or {})}
    named = {*_HEAD, *SHARES}
    for part in (scenario.parts.partition, scenario.parts.attack):
        if part is not None and None not in (getattr(part, name) for name in part.named):
            named |= set(part.named)
    read = {name for part in scenario.parts.single().values() for name in part.specs()}
    for name in dict.fromkeys((*_order(scenario), *specs)):
        value = getattr(scenario, name)
        if name in named or value == usual[name]:
            continue
        if value is None and name in names and name not in read:
            continue  # no chosen component reads it
        tokens.append(field_token(name, value, specs))
    return "-".join(tokens)


def field_token(name: str, value: object, specs: Mapping[str, Any]) -> str:
    """The token of one field outside the head of an id: no other field or value has the same.

    ``specs`` are the scenario's declared fields. None and flags are named: ``pxnone``,
    ``nesterovtrue``.
    """
    spec = specs[name]
    prefix = _prefix(name, spec)
    if isinstance(value, Component) or (isinstance(value, tuple) and spec.type not in (int, float)):
        return digested(name, str(value), prefix + token(value))
    if not isinstance(value, str):
        return f"{name.replace('_', '') if value is None and not prefix else prefix}{token(value)}"
    if name == "preaggregation":
        return _steps_token(value)
    text = prefix + token(value)
    if name in registries():
        plain = _unique(name, value) and value != "none" and not _nested(value)
    elif spec.choices:
        plain = [token(choice) for choice in spec.choices].count(token(value)) == 1
    else:
        plain = token(value) == value and value not in ("", "none")
    if plain and not prefix:
        plain = _readers(text, specs) == [name]
    return text if plain and not _DIGEST.search(text) else digested(name, value, text)


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


def _order(scenario: Scenario) -> Iterator[str]:
    """The fields that come first in an id; a shared parameter where its first kind has its own."""
    single = scenario.parts.single()
    shared = [n for part in single.values() for n, spec in part.specs().items() if spec.shared]
    known = parameters() if shared else {}
    for item in _ORDER:
        kind, dot, _ = item.partition(".")
        if not dot:
            yield item
            continue
        yield from (name for name in shared if kind in known.get(name, ()))
        for name, spec in single[kind].specs().items() if kind in single else ():
            if name in scenario.__dict__ and (spec.token is not None or kind == "attack"):
                yield name


def _usual(scenario: Scenario, base: Scenario, specs: Mapping[str, Spec]) -> dict[str, object]:
    """The value of each field that is not named, for the components of ``scenario``."""
    values = {name: getattr(base, name) for name in specs}
    named: set[str] = set()
    for part in scenario.parts.single().values():
        for name, spec in part.specs().items():
            if name not in specs or name in named or name == MIRRORED:
                continue
            named.add(name)
            # a required parameter, which has no default, is always named
            if spec.token is not None or values[name] is None:
                values[name] = spec.default
    return values


def _prefix(name: str, spec: Spec) -> str:
    if name in _BARE:
        return ""
    return name.replace("_", "") if spec.token is None else spec.token


def _nested(value: str) -> bool:
    """Whether ``value`` of a component field is a written form, with parameters."""
    return value.endswith(")") and "(" in value


def _steps_token(text: str) -> str:
    """``pre.bucketing.size3.nnm``: each step, with what differs from its defaults."""
    words, plain = ["pre"], True
    names = [token(name) for name in PREAGGREGATIONS]
    for piece in pieces(text):
        step = component("preaggregation", piece)
        words.append(token(step.name))
        plain &= token(step.name) == step.name and names.count(step.name) == 1
        for name, spec in step.specs().items():
            value = getattr(step, name)
            if value == spec.default:
                continue
            prefix = _prefix(name, spec)
            words.append(prefix + token(value))
            plain &= isinstance(value, int | float)
            # a step must not read like another one's parameter
            plain &= not any(re.fullmatch(rf"{prefix}({_NUMBER}|true|false)", n) for n in names)
    name = ".".join(words)
    return name if plain and not any("." in n for n in names) else digested("pre", text, name)


def _named_token(kind: str, value: str, part: Component, form: str) -> str:
    """The name of ``part`` with the values that follow it, of the ``form`` of all such, or none."""
    if _nested(value):
        return digested(kind, value, token(value))
    text, rest = part.token(), part.token().removeprefix(token(part.name))
    others = [token(other) for other in registries()[kind] if other != part.name]
    clash = any(re.fullmatch(re.escape(other) + form, text) for other in others)
    plain = _unique(kind, part.name) and not clash and not _DIGEST.search(text)
    return text if plain else digested(kind, f"{part.name} {rest}", text)


def _unique(kind: str, name: str) -> bool:
    """Whether the token of the registered ``name`` says which one is meant, and with what."""
    registered, _, rest = name.partition(":")
    short = token(name)
    others = [token(o) for o in registries()[kind] if o != registered]
    if kind == "dataset" and ":" in name:
        whole = rest != "" and token(rest) == rest
        return whole and not any(short.startswith(other) for other in others)
    return bool(short) and (short == name or short not in others)


def _readers(text: str, specs: Mapping[str, Any]) -> list[str]:
    """The fields that could have ``text`` as a token, but for those with a digest."""
    fields = [] if not re.fullmatch(_SHARE, text) else ["redraw"]
    known = registries()
    for name, spec in specs.items():
        if name in _HEAD or name in SHARES:
            continue
        prefix = _prefix(name, spec)
        own = {f"{prefix or name.replace('_', '')}none"}
        if name in known:
            names = [prefix + token(registered) for registered in known[name]]
            start = name == "dataset" and text.startswith(tuple(names))
            reads = start or text in {*names, *own}
        elif spec.choices:
            reads = text in {*own, *(prefix + token(choice) for choice in spec.choices)}
        elif spec.type is bool:
            reads = text in {*own, f"{prefix}true", f"{prefix}false"}
        elif spec.type is str:
            reads = text.startswith(prefix)
        else:
            number = rf"{re.escape(prefix)}{_NUMBER}(?:to{_NUMBER})*"
            reads = text in own or re.fullmatch(number, text) is not None
        if reads:
            fields.append(name)
    return fields
