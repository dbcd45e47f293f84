"""The functions of a C file, ready to be called: compiled once a process, for its processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import c_int64, c_void_p
from dataclasses import dataclass, field
from typing import Any

from fedcore.native.compiler import COMPILING, Library, Target, compiler, target
from fedcore.native.source import program
from fedcore.native.switch import off

Kernel = Callable[..., None]
Functions = Mapping[str, Kernel]

_TYPES = {"p": c_void_p, "i": c_int64}


@dataclass(frozen=True, eq=False)
class CFile:
    """A C file of this folder that makes one library.

    ``name``: without its suffix. ``signatures``: of its functions, a letter an argument, p for a
    pointer and i for a whole number of 64 bits. ``definitions``: macros for a processor, None for
    one that there is no kernel for. ``headers``: texts in the place of header files, for one that
    there is a kernel for.
    """

    name: str
    signatures: Mapping[str, str]
    definitions: Callable[[Target], Mapping[str, int] | None]
    headers: Callable[[Target], Mapping[str, str]] = lambda target: {}
    _found: dict[Target, Functions | None] = field(default_factory=dict, init=False)

    def functions(self) -> Functions | None:
        """The functions by name; None where they are switched off or cannot be had."""
        if self.name in off():
            return None
        here = target()
        if here not in self._found:
            self._found[here] = self._load()
        return self._found[here]

    def wanted(self) -> bool:
        """Whether there is a kernel for this processor, where it can be compiled."""
        return self.definitions(target()) is not None

    def program(self, here: Target) -> str | None:
        """The C source for processors such as ``here``; None where there is none."""
        definitions = self.definitions(here)
        if definitions is None:
            return None
        return program(f"{self.name}.c", definitions, self.headers(here))

    def library(self) -> Library | None:
        """The library, compiled where need be; None where it cannot be had."""
        source = None if compiler() is None else self.program(target())
        return None if source is None else COMPILING.library(source)

    def _load(self) -> Functions | None:
        loaded = self.library()
        if loaded is None:
            return None
        found: dict[str, Any] = {name: loaded[name] for name in self.signatures}
        for name, letters in self.signatures.items():
            found[name].argtypes = [_TYPES[letter] for letter in letters]
            found[name].restype = None
        return found
