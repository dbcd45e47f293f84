"""Which compiled kernels this process computes with: part of what a result depends on.

A run takes some of the kernels, which ones depends on its network and its rule. All are built and
loaded here, so that one digest stands for each of them; a machine builds them once.
"""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os

from fedcore.native import compiler as native
from fedcore.notices import notify

#: In the place of a digest, where torch's operators do all the work.
NONE = "none"
_ROWS, _CUT = 10, 2  # of the selection network that stands for those of other sizes


class KernelWarning(UserWarning):
    """Compiled kernels that could not be had: training takes about twice as long."""


def kernels() -> str:
    """16 hexadecimal digits over the files of the kernels loaded, or ``none``.

    Files that no compiler could make enter as ``none``. ``-incomplete`` follows where a kernel of
    another size could not be made although these could: what ran is then not what others run.
    """
    digest, missing = _base()
    return digest + ("-incomplete" if len(native.missing) > missing else "")


@functools.cache
def _base() -> tuple[str, int]:
    """The digest over the kernels that every process loads, and how many could not be had."""
    from fedcore.native import convolution, gram, pooling, selection
    from fedcore.strategies.order_statistics import plan

    programs = {
        "pooling": pooling.program(),
        "convolution": convolution.program(),
        "gram": gram.program(),
        "network": selection.program(_ROWS, plan(_ROWS, _CUT)),
    }
    found = {
        name: library.digest
        for name, source in programs.items()
        if source is not None and (library := native.library(source)) is not None
    }
    _tell(len(found), sum(source is not None for source in programs.values()))
    if not found:
        return NONE, len(native.missing)
    text = "\n".join(f"{name} {found.get(name, NONE)}" for name in programs)
    return hashlib.sha256(text.encode()).hexdigest()[:16], len(native.missing)


def _tell(loaded: int, wanted: int) -> None:
    """Warn once a process, but not in workers, where kernels are missing or not kept."""
    if native.switched_off() or multiprocessing.parent_process() is not None:
        return
    reasons = list(dict.fromkeys(native.problems))
    if loaded < wanted and native.compiler() is None:
        named = os.environ.get("CC")
        what = f"CC={named!r} names no program" if named else "there is no C compiler"
        reasons = [f"{what}: install gcc or clang, or name one in $CC"]
    if reasons:
        notify(
            f"{wanted - loaded} of {wanted} compiled kernels are missing, torch's operators stand "
            f"in for them ({'; '.join(reasons)}); FEDCORE_NATIVE=0 does without them and without "
            "this warning"
            if loaded < wanted
            else f"{'; '.join(reasons)}: each process compiles its kernels anew",
            KernelWarning,
        )
