"""``fedcore list``: what can be named, with parameters, ranges, defaults and meanings."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping

from fedcore.cli.components_page import COMPONENTS, page
from fedcore.cli.described import default_of, facts, values_of
from fedcore.components import packages
from fedcore.components.parameters import Spec
from fedcore.components.registry import REGISTRIES
from fedcore.errors import UnknownNameError
from fedcore.scenario.declared import readers_of
from fedcore.scenario.presets import PRESETS
from fedcore.scenario.scenario import own_specs

NAME = "list"
HELP = "list strategies, attacks, data sets, ... with their parameters"
DESCRIPTION = "List what a scenario can name, and under each the parameters that it reads."

_WIDTH = 100
KINDS = (*COMPONENTS, "engines", "presets", "fields")
_SINGULAR = {
    **{one: many for many, one in COMPONENTS.items()},
    "engine": "engines",
    "preset": "presets",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The optional kind, and the form."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"one of {', '.join(KINDS)}")
    parser.add_argument(
        "--format",
        choices=("text", "md"),
        default="text",
        help="md: components alone, as a page of Markdown (docs/reference/components.md)",
    )


def execute(options: argparse.Namespace) -> int:
    """Print the list, and on standard error each entry point that cannot be loaded.

    Raises UnknownNameError for an unknown kind.
    """
    kind = options.kind
    if kind is not None:
        kind = _SINGULAR.get(kind.lower(), kind.lower())
        if kind not in KINDS:
            raise UnknownNameError("kind", options.kind, KINDS)
    if options.format == "md":
        if kind is not None and kind not in COMPONENTS:
            raise UnknownNameError("kind of components, which --format md lists,", kind, COMPONENTS)
        print(page([kind] if kind else list(COMPONENTS)), end="")
    else:
        print("\n\n".join(listing(name) for name in ([kind] if kind else KINDS)))
    for problem in packages.broken():
        print(f"fedcore list: {problem}", file=sys.stderr)
    return 0


def listing(kind: str) -> str:
    """The section of one of `KINDS`."""
    makers: dict[str, Callable[[], Iterable[str]]] = {
        "engines": _engines,
        "presets": _presets,
        "fields": _fields,
    }
    lines = makers[kind]() if kind in makers else _components(COMPONENTS[kind])
    return "\n".join(lines)


def _components(field: str) -> Iterable[str]:
    registry, specs = REGISTRIES[field], own_specs()
    entries = [registry.entry(name) for name in registry]
    width = max((len(entry.name) for entry in entries), default=0)
    if field in specs:
        yield f"{field}  {specs[field].doc}; default {specs[field].default or 'none'}"
    else:  # a parameter of other components
        yield f"{field}  read by {', '.join(readers_of(field))}"
    for entry in entries:
        package = "" if entry.package == "fedcore" else f" [{entry.package}]"
        yield from _wrapped(f"  {entry.name:<{width}}  ", entry.summary + package)
        for label, text in facts(entry):
            yield from _wrapped(f"      {label}: ", text)
        yield from _parameters("      ", entry.part.specs(), entry.parameters)


def _fields() -> Iterable[str]:
    yield "fields  of every scenario; a flag of fedcore run each: num_clients is --num-clients"
    specs = own_specs()
    yield from _parameters("  ", specs, specs)


def _engines() -> Iterable[str]:
    from fedcore.engine.interface import ENGINES  # imports torch

    yield "engines  how a run is computed; --engine NAME, default: stacked on CUDA, else sequential"
    width = max(map(len, ENGINES))
    for name in ENGINES:
        yield from _wrapped(f"  {name:<{width}}  ", ENGINES.entry(name).summary)


def _presets() -> Iterable[str]:
    yield "presets  for fedcore run --preset NAME; flags override their values"
    width = max(len(name) for name in PRESETS)
    for name, preset in PRESETS.items():
        yield from _wrapped(f"  {name:<{width}}  ", preset.summary)
        values = ", ".join(f"{key}={value!r}" for key, value in preset.values.items())
        yield from _wrapped("      ", values)


def _parameters(indent: str, specs: Mapping[str, Spec], names: Iterable[str]) -> Iterable[str]:
    rows = [(name, values_of(specs[name]), default_of(specs[name].default)) for name in names]
    if not rows:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield from _wrapped(f"{indent}{cells}  ", specs[row[0]].doc)


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        max(_WIDTH, len(head) + 20),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
