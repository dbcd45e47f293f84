"""The code that a component from outside fedcore runs: its modules and all that they import.

Followed are import statements wherever they stand (in functions and conditions, too, as a helper
is often imported late), relative ones, `importlib.import_module` with a literal name, the modules
of base classes, and what of the same packages is loaded. A package that nobody has installed
enters with all its source files, an installed distribution with name and version; one in which
the component itself lies with both. Python's own library, and fedcore as far as its digest covers
it, are left out.

Not covered: modules that are found by a name made at run time outside those packages, and data
files that the code reads.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path

from fedcore.origin import sources
from fedcore.origin.search import content_of, distribution_of, find, is_package, shadows
from fedcore.origin.syntax import digest

#: In the place of a digest: the component is defined in no file.
UNKNOWN = "unknown"
#: Flower enters with its version: a strategy of its own brings 600 files.
_BY_VERSION = ("flwr",)


@dataclass(frozen=True)
class ForeignCode:
    """Foreign code: a digest (`UNKNOWN` where there is no source), its files, and versions."""

    digest: str
    files: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]


@functools.cache
def foreign_code(modules: frozenset[str], bases: frozenset[str]) -> ForeignCode | None:
    """What runs with a component in ``modules`` that is derived from classes in ``bases``.

    None where all is fedcore's or Python's own. A process finds it out once:
    `fedcore.origin.sources.changed` says whether it still holds.
    """
    walk = _Walk()
    for name in sorted(modules):
        walk.enter(name, root=True)
    for name in sorted(bases):
        walk.enter(name)
    walk.finish()
    if not (walk.texts or walk.versions or walk.unknown):
        return None
    files = tuple(sorted(walk.files))
    found = UNKNOWN
    if not walk.unknown:
        found = digest(sorted(walk.texts.items()))
    sources.changed(files, read=True)
    return ForeignCode(found, files, tuple(sorted(walk.versions.items())))


@dataclass
class _Walk:
    """Modules and packages met so far. ``texts`` by name, ``files`` for those that are files."""

    texts: dict[str, bytes] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    unknown: bool = False
    _seen: set[str] = field(default_factory=set)
    _packages: set[str] = field(default_factory=set)

    def enter(self, name: str, *, root: bool = False) -> None:
        """The module called ``name``, its packages, and what they import."""
        waiting = [(name, root)]
        while waiting:
            name, root = waiting.pop()
            waiting += [(found, False) for found in self._follow(name, root)]

    def finish(self) -> None:
        """Add what is loaded of the packages met, with what it imports."""
        before = -1
        while before != len(self._seen):
            before = len(self._seen)
            for name in tuple(sys.modules):
                if name.partition(".")[0] in self._packages:
                    self.enter(name)

    def _follow(self, name: str, root: bool) -> Iterable[str]:
        """Read one module; the names of those that it imports."""
        top = name.partition(".")[0]
        if name in self._seen or _covered(name):
            return ()
        self._seen.add(name)
        spec = find(name)
        if spec is None:
            self.unknown |= root
            return ()
        if top in sys.stdlib_module_names and not shadows(spec):
            return ()
        version = distribution_of(top, spec)
        if version is not None:
            self.versions.update([version])
            if not root or top in _BY_VERSION:
                return ()
            self._add_package(top)
            content = content_of(spec)
            names = _imports(content, name, is_package(spec)) if content is not None else ()
            return [found for found in names if found.partition(".")[0] != top]
        content = self._read(name, spec)
        if content is None:
            self.unknown |= root and not spec.submodule_search_locations
        if top != "fedcore":
            self._add_package(top)
        parents = [name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)]
        return [*parents, *_imports(content or b"", name, is_package(spec))]

    def _read(self, name: str, spec: ModuleSpec) -> bytes | None:
        content = content_of(spec)
        if content is not None and spec.origin is not None:
            suffix = Path(spec.origin).suffix
            self._add(f"{name}{suffix}", spec.origin, content)
        return content

    def _add(self, name: str, path: str, content: bytes) -> None:
        self.texts[name] = content
        while path and not Path(path).exists():  # within an archive
            path = str(Path(path).parent)
        sources.watch([path])
        self.files.add(path)

    def _add_package(self, top: str) -> None:
        """All source files of the package ``top``; nothing for a single module."""
        if top in self._packages:
            return
        self._packages.add(top)
        spec = find(top)
        for location in (spec.submodule_search_locations or ()) if spec is not None else ():
            folder = Path(location)
            for path in sources.tree(folder):
                parts = [top, *path.relative_to(folder).with_suffix("").parts]
                if parts[-1] == "__init__":
                    parts.pop()
                with contextlib.suppress(OSError):  # what cannot be read cannot be imported
                    self._add(".".join(parts) + path.suffix, str(path), path.read_bytes())


def _covered(name: str) -> bool:
    """Whether the digest of fedcore's computing code covers the module ``name``."""
    parts = name.split(".")
    if parts[0] != "fedcore":
        return False
    return sources.computes(parts[1:])


def _imports(content: bytes, module: str, package: bool) -> Iterator[str]:
    """Names that the source ``content`` of ``module`` may import; some may be no modules."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    here = module if package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), here)
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and node.args:
            function, first = node.func, node.args[0]
            called = getattr(function, "attr", getattr(function, "id", None))
            if called in ("import_module", "__import__", "find_spec", "run_module"):
                named = first.value if isinstance(first, ast.Constant) else None
                if isinstance(named, str) and (base := _absolute(named, here)):
                    yield base


def _absolute(name: str, package: str) -> str | None:
    if not name.startswith("."):
        return name or None
    try:
        return importlib.util.resolve_name(name, package) if package else None
    except ImportError:  # beyond the top
        return None
