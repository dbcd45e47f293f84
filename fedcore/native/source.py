"""The C files of this folder as programs: one text each, with its headers and its definitions.

They are read when this module is imported, as Python's are: what changes on the disk later is not
what this process computes with. A Flower app can hold no C files, so it carries their texts in
c_files.json, which ``python -m fedcore.native.source`` writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fedcore.errors import FedcoreError

_INCLUDE = re.compile(r'#include "(\w+\.h)"')
_FOLDER = Path(__file__).parent
_CARRIED = _FOLDER / "c_files.json"


def _read() -> tuple[tuple[str, ...], dict[str, str]]:
    """The files read, and the texts of C files by name."""
    files = sorted(_FOLDER.glob("*.[ch]"))
    if not files and _CARRIED.exists():
        return (str(_CARRIED),), json.loads(_CARRIED.read_text(encoding="utf-8"))
    return tuple(map(str, files)), {path.name: path.read_text("utf-8") for path in files}


#: `__reads__`: on import, like the module itself. See `fedcore.origin.sources`.
__reads__, _TEXTS = _read()


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


if __name__ == "__main__":
    _CARRIED.write_text(json.dumps(_TEXTS, indent=0) + "\n", encoding="utf-8")
