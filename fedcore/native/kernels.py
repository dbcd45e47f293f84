"""Which compiled kernels this process computes with: part of what a result depends on.

A run takes some of the kernels, which ones depends on its network and its rule. All are built and
loaded here, so that one digest stands for each of them; a machine builds them once.
"""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
from collections.abc import Sequence

from fedcore.native import convolution_backward, convolution_forward, gram, pooling, selection
from fedcore.native.compiler import COMPILING, compiler
from fedcore.native.selection_plan import plan
from fedcore.native.switch import off, switched_off
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
    digest, missing = _base(off())
    return digest + ("-incomplete" if len(COMPILING.missing) > missing else "")


@functools.cache
def _base(disabled: frozenset[str]) -> tuple[str, int]:
    """The digest over the kernels that every process loads, and how many could not be had."""
    files = (
        pooling.FILE,
        convolution_forward.FILE,
        convolution_backward.FILE,
        gram.FILE,
        selection.file(_ROWS, plan(_ROWS, _CUT)),
    )
    wanted = [file for file in files if file.wanted() and file.name not in disabled]
    libraries = {file.name: file.library() for file in wanted}
    found = {name: library.digest for name, library in libraries.items() if library is not None}
    tell(len(found), len(wanted), COMPILING.problems)
    if not found:
        return NONE, len(COMPILING.missing)
    text = "\n".join(f"{file.name} {found.get(file.name, NONE)}" for file in files)
    return hashlib.sha256(text.encode()).hexdigest()[:16], len(COMPILING.missing)


def tell(loaded: int, wanted: int, problems: Sequence[str]) -> None:
    """Warn, but not in workers, where kernels are missing or, for ``problems``, not kept.

    ``loaded`` of the ``wanted`` libraries could be had.
    """
    if switched_off() or multiprocessing.parent_process() is not None:
        return
    reasons = list(dict.fromkeys(problems))
    if loaded < wanted and compiler() is None:
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
