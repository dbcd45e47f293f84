"""``fedcore list --format md``: the components as a page, docs/reference/components.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tabulate import tabulate

from fedcore.cli.described import default_of, facts, values_of
from fedcore.components.registry import REGISTRIES, Entry
from fedcore.scenario.declared import readers_of
from fedcore.scenario.scenario import own_specs

#: The kind of component by what its list is called.
COMPONENTS = {
    "strategies": "strategy",
    "preaggregations": "preaggregation",
    "attacks": "attack",
    "triggers": "trigger",
    "partitions": "partition",
    "optimizers": "optimizer",
    "models": "model",
    "privacy": "privacy",
    "datasets": "dataset",
}
#: What makes the page that is checked in.
COMMAND: Final = "fedcore list --format md > docs/reference/components.md"
_HEAD: Final = f"""# Components

Made by `{COMMAND}`: change the components, not this page.

A scenario names one of each kind, `krum` or `krum(num_byzantine=2)`, in a flag such as
`--strategy`. Of each component stand here

- *source*: the paper or data set that it follows.
- *knows*: what an attack sees, its own data, work or updates, or, *omniscient*, the updates of all
  clients of the round.
- *buffers*: what a strategy makes of the running statistics of BatchNorm that clients send.
- *needs*, *refuses*: what a scenario must meet, K being its cohort behind pre-aggregation;
  `fedcore run` and the suite refuse one that does not, and say why.
"""


def page(kinds: Sequence[str], shown: Callable[[Entry[Any]], bool] = lambda entry: True) -> str:
    """The page of ``kinds`` of `COMPONENTS`, with the entries that are to be ``shown``."""
    return "\n".join([_HEAD, *(text for kind in kinds for text in _section(kind, shown))])


def _section(kind: str, shown: Callable[[Entry[Any]], bool]) -> Iterator[str]:
    field, specs = COMPONENTS[kind], own_specs()
    registry = REGISTRIES[field]
    yield f"## {kind[0].upper()}{kind[1:]}\n"
    if field in specs:
        yield f"`{field}`: {specs[field].doc}; default {specs[field].default or 'none'}.\n"
    else:  # a parameter of other components
        yield f"`{field}`: read by {', '.join(readers_of(field))}.\n"
    for entry in map(registry.entry, registry):
        if not shown(entry):
            continue
        package = "" if entry.package == "fedcore" else f" [{entry.package}]"
        yield f"### {entry.name}\n"
        yield f"{_upper(entry.summary)}{package}.\n"
        if known := facts(entry):
            yield "\n".join(f"- *{label}*: {text}" for label, text in known) + "\n"
        rows = [
            (f"`{name}`", values_of(spec), default_of(spec.default), spec.doc)
            for name, spec in entry.part.specs().items()
            if name in entry.parameters
        ]
        if rows:
            cells = [[_cell(text) for text in row] for row in rows]
            headers = ["parameter", "values", "default", "meaning"]
            yield f"{tabulate(cells, headers, tablefmt='github', disable_numparse=True)}\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").removeprefix("default ")


def _upper(text: str) -> str:
    """``text`` as a sentence begins, unless its first word is a name such as npz:PATH."""
    first = text.split(maxsplit=1)[0]
    return f"{text[0].upper()}{text[1:]}" if first.replace("-", "").isalpha() else text
