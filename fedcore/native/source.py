"""The C files of this folder as programs: one text each, with its headers and its definitions.

They are read when this module is imported, as Python's are: what changes on the disk later is not
what this process computes with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fedcore.errors import FedcoreError

_INCLUDE = re.compile(r'#include "(\w+\.h)"')
_FILES = tuple(sorted(Path(__file__).parent.glob("*.[ch]")))
#: Read on import, like the module itself: see `fedcore.origin.sources`.
__reads__ = tuple(map(str, _FILES))
_TEXTS = {path.name: path.read_text(encoding="utf-8") for path in _FILES}


def program(
    name: str, definitions: Mapping[str, int], headers: Mapping[str, str] | None = None
) -> str:
    """The C file ``name`` after ``definitions``; each of its own headers once, in its place.

    ``headers``: texts by name, in the place of the files of these names. Compilers report lines by
    the files that they are of. Raises FedcoreError where a file is missing.
    """
    texts = {**_TEXTS, **(headers or {})}
    defined = [f"#define {key} {value}" for key, value in definitions.items()]
    return "\n".join([*defined, *_lines(name, texts, set())]) + "\n"


def _lines(name: str, texts: Mapping[str, str], seen: set[str]) -> Iterator[str]:
    if name not in texts:
        raise FedcoreError(
            f"fedcore/native must hold {name}, and does not: this copy of fedcore was packaged "
            "without its C files; install it anew, or set FEDCORE_NATIVE=0"
        )
    seen.add(name)
    yield f'#line 1 "{name}"'
    for number, line in enumerate(texts[name].splitlines(), start=1):
        included = _INCLUDE.fullmatch(line.rstrip())
        if included is None:
            yield line
            continue
        if included[1] not in seen:
            yield from _lines(included[1], texts, seen)
        yield f'#line {number + 1} "{name}"'
