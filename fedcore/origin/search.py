"""Where modules lie, without importing them, and which distribution has put them there."""

from __future__ import annotations

import ast
import functools
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path

from fedcore.origin import sources


def find(name: str) -> ModuleSpec | None:
    """The spec of the module called ``name``, None where there is none; imports nothing."""
    loaded = sys.modules.get(name)
    spec: ModuleSpec | None = getattr(loaded, "__spec__", None)
    file = getattr(loaded, "__file__", None)
    if spec is None and file is not None:  # a script
        spec = importlib.util.spec_from_file_location(name, file)
    if spec is not None:
        return spec
    if name == "__main__":
        return None
    parent, _, _ = name.rpartition(".")
    locations = None
    if parent:
        above = find(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        locations = list(above.submodule_search_locations)
    if locations is not None and (spec := _within(name, locations)) is not None:
        return spec
    for finder in sys.meta_path:
        look = getattr(finder, "find_spec", None)
        try:
            found: ModuleSpec | None = look(name, locations) if look is not None else None
        except Exception:  # whatever somebody's finder raises
            continue
        if found is not None:
            return found
    return None


def _within(name: str, locations: Iterable[str]) -> ModuleSpec | None:
    """The module ``name`` of a package at ``locations``.

    Python's own search takes folders without __init__.py only below packages that are imported.
    """
    portions: list[str] = []
    for location in locations:
        importer = pkgutil.get_importer(location)
        spec: ModuleSpec | None = None if importer is None else importer.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        if spec is not None:
            portions += spec.submodule_search_locations or ()
    if not portions:
        return None
    namespace = ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace


def shadows(spec: ModuleSpec) -> bool:
    """Whether ``spec``, whose name is one of Python's own modules, is of another file."""
    library = str(Path(ast.__file__).parent)
    return spec.has_location and not str(spec.origin).startswith(library)


def content_of(spec: ModuleSpec) -> bytes | None:
    """The bytes of a module's file, also in an archive; None where it has none."""
    if spec.origin is None or not spec.has_location:
        return None
    try:
        return Path(spec.origin).read_bytes()
    except OSError:
        read = getattr(spec.loader, "get_data", None)
        try:
            return bytes(read(spec.origin)) if read is not None else None
        except OSError:
            return None


def is_package(spec: ModuleSpec) -> bool:
    """Whether modules may lie below it."""
    return spec.submodule_search_locations is not None


@functools.cache
def distributions() -> dict[str, list[str]]:
    """Names of the installed distributions by the top-level modules that they bring."""
    return {top: list(names) for top, names in metadata.packages_distributions().items()}


def distribution_of(top: str, spec: ModuleSpec) -> tuple[str, str] | None:
    """Name and version of the distribution that put ``spec`` where it lies; None for source.

    An editable distribution has put only a pointer to the source.
    """
    places = [spec.origin] if spec.has_location else []
    places += list(spec.submodule_search_locations or ())
    if not any(place and sources.installed(place) for place in places) and not any(
        place and _beside_metadata(place, top) for place in places
    ):
        return None
    try:
        found = [metadata.distribution(top)]
    except (metadata.PackageNotFoundError, ValueError):
        found = [metadata.distribution(name) for name in distributions().get(top, ())]
    for distribution in found:
        home = Path(str(distribution.locate_file(""))).resolve()
        if any(place and Path(place).resolve().is_relative_to(home) for place in places):
            return str(distribution.metadata["Name"]), str(distribution.version)
    return None


def _beside_metadata(place: str, top: str) -> bool:
    """Whether ``place`` lies in a folder that pip has installed into (``pip install --target``)."""
    parts = Path(place).parts
    if top not in parts and f"{top}.py" not in parts:
        return False
    cut = max(i for i, part in enumerate(parts) if part in (top, f"{top}.py"))
    return next(Path(*parts[:cut]).glob("*.dist-info/RECORD"), None) is not None
