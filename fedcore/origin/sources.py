"""Source files as this process first saw them, and whether what it runs can have come from others.

A process reads a module when it imports it, often late; the digest of the code is taken from the
files at another time. Both are of the same text if no file has changed since it was first seen, or
if its module had been imported before it changed. Imports nothing heavy: `fedcore` itself imports
this first, so that its own files are seen before any of them is read.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

#: Size, time of the last writing, of the last change of content or place, number of the file.
Signature = tuple[int, int, int, int]

#: In the place of a digest: files changed while the process ran, so that it may run either state.
CHANGED: Final = "changed"
PACKAGE = Path(__file__).parent.parent
# Presentation and bookkeeping: a change there does not change what a run computes.
NOT_COMPUTING = (
    *("harness", "flower", "cli", "origin", "__main__", "ray_cluster", "scenario/presets"),
    "console",
    *("records/files", "records/inputs", "records/stamp", "records/store", "records/tables"),
)
SUFFIXES = (".py", ".c", ".h")
#: The texts of the C files beside it, for copies of the package that can hold none.
CARRIED = "native/c_files.json"

_first: dict[str, Signature | None] = {}
_digested: set[str] = set()  # read for a digest while they were as first seen
_held: set[str] = set()  # imported, too, while they were: what they become matters no more
_loaded: set[str | None] = set()  # files of modules, when there were _scanned of them
_scanned = 0


def signature(path: str) -> Signature | None:
    """What changes when the file at ``path`` does; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def watch(paths: Iterable[str]) -> None:
    """Remember how ``paths`` are now, unless they are remembered."""
    for path in paths:
        if path not in _first:
            _first[path] = signature(path)


def changed(paths: Iterable[str], *, read: bool = False) -> list[str]:
    """Those of ``paths`` that may not be what this process runs; [] where all are.

    ``read``: their content has just been read, for a digest that stands for it from now on.
    """
    global _loaded, _scanned
    modules = tuple(sys.modules.values())
    if len(modules) != _scanned:
        _loaded = {getattr(module, "__file__", None) for module in modules}
        _loaded.update(*map(_read_by, modules))
        _scanned = len(modules)
    found = []
    for path in paths:
        if path in _held:
            continue
        if path not in _first or signature(path) != _first[path]:
            found.append(path)
            continue
        if read:
            _digested.add(path)
        if path in _loaded and path in _digested:
            _held.add(path)
    return found


def _read_by(module: object) -> tuple[str, ...]:
    """Files that ``module`` says, by ``__reads__``, that it read when it was imported."""
    found = getattr(module, "__dict__", {}).get("__reads__", ())
    return found if isinstance(found, tuple) else ()


def installed(path: str) -> bool:
    """Whether ``path`` lies where packages are installed."""
    return any(part in ("site-packages", "dist-packages") for part in Path(path).parts)


def watch_modules() -> None:
    """`watch` the files of all modules but those of fedcore and of installed packages.

    Called when a component from outside is registered: it has just been read.
    """
    files = [getattr(module, "__file__", None) for module in tuple(sys.modules.values())]
    apart = (os.path.dirname(os.__file__), str(PACKAGE))
    mine = (file for file in files if isinstance(file, str) and not file.startswith(apart))
    watch(file for file in mine if not installed(file))


def tree(folder: Path) -> Iterator[Path]:
    """Source files below ``folder``, in order, without hidden folders and environments."""
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if _holds_source(Path(here, name)))
        for name in sorted(files):
            if name.endswith(SUFFIXES):
                yield Path(here, name)


def _holds_source(folder: Path) -> bool:
    name = folder.name
    if name.startswith(".") or name in ("__pycache__", "node_modules", "site-packages"):
        return False
    return not (folder / "pyvenv.cfg").exists()


def computing(package: Path) -> list[Path]:
    """The files below ``package`` that compute results."""
    return [p for p in tree(package) if computes(p.relative_to(package).with_suffix("").parts)]


def carried(package: Path) -> dict[str, bytes]:
    """C files by their names below ``package``, where `CARRIED` stands in for them."""
    place = package / CARRIED
    if any(place.parent.glob("*.[ch]")) or not place.exists():
        return {}
    folder = place.parent.relative_to(package).as_posix()
    texts: dict[str, str] = json.loads(place.read_bytes())
    return {f"{folder}/{name}": text.encode() for name, text in texts.items()}


def computes(parts: Sequence[str]) -> bool:
    """Whether the module at ``parts`` below fedcore, such as ("records", "store"), does."""
    paths = ("/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return not set(NOT_COMPUTING).intersection(paths)


watch([*map(str, tree(PACKAGE)), str(PACKAGE / CARRIED)])
