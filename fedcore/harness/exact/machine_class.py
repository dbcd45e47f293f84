"""The machine class that a baseline is of: what must be equal for a run to repeat its bits.

That is the fingerprint and the processor's generation, caches and settings, but for the digest of
fedcore's own compiled kernels. It changes with the machine and with the code, and a change of the
code must not make another machine of this one: it would take the exact comparison away just where
it is needed. In its place stands the digest of a probe that the same compiler makes of a source
that never changes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from fedcore.native.compiler import COMPILING

#: A part of a fingerprint about compiled kernels, such as "kernels 8f348a31" or "no C compiler".
_KERNELS = re.compile(r"no C compiler|kernels .*")
_SETTINGS = (
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"),
    *("MKL_DEBUG_CPU_TYPE", "CUBLAS_WORKSPACE_CONFIG"),
)
_CACHE = "/sys/devices/system/cpu/cpu0/cache/index{}/size"
#: Compilers that fuse, reorder or vectorise differently make other machine code of this.
_PROBE = """
float fedcore_probe(const float *a, const float *b, int n) {
    float total = 0.0f;
    for (int i = 0; i < n; i++) total += a[i] * b[i] + a[i] / (b[i] * b[i] + 1.0f);
    return total;
}
void fedcore_probe_rows(const float *a, const float *b, float *c, int n) {
    for (int i = 0; i < n; i++) c[i] = a[i] * b[i] + c[i];
}
"""


def machine_class(fingerprint: str) -> str:
    """The class of a machine with ``fingerprint``, parts joined by ", ".

    Where that says that no kernels are loaded, there is no compiler to tell apart.
    """
    parts = fingerprint.split(", ")
    without = any(part in ("no C compiler", "kernels none") for part in parts)
    kept = [part for part in parts if not _KERNELS.fullmatch(part)]
    return ", ".join([*kept, *processor(), f"C {'none' if without else toolchain()}"])


def processor() -> list[str]:
    """Generation and caches of the processor, by which libraries choose their blocks.

    One model name, such as AMD EPYC, stands for several generations. With the settings that tell
    torch's libraries what to compute with, where there are any.
    """
    settings = [f"{name}={os.environ[name]}" for name in _SETTINGS if os.environ.get(name)]
    return [*_hardware(), *settings]


@functools.cache
def _hardware() -> tuple[str, ...]:
    """What Linux tells of it; () elsewhere."""
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())  # of the first core
    numbers = [facts[name] for name in ("cpu family", "model", "stepping") if name in facts]
    sizes = []
    for cache in (0, 2):  # level 1, data, and level 2
        with contextlib.suppress(OSError):
            sizes.append(Path(_CACHE.format(cache)).read_text().strip())
    generation = [f"family {'.'.join(numbers)}"] * bool(numbers)
    return (*generation, *[f"caches {' '.join(sizes)}"] * bool(sizes))


@functools.cache
def toolchain() -> str:
    """8 hexadecimal digits of the SHA-256 of what the C compiler makes of a probe, or "none"."""
    library = COMPILING.library(_PROBE)
    return "none" if library is None else library.digest[:8]


def slug(name: str) -> str:
    """A file name's stem for class ``name``: readable, and one of its own for each class."""
    readable = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
    return f"{readable[:60].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def likeness(one: str, other: str) -> int:
    """How many parts of two classes are equal."""
    return len(set(one.split(", ")) & set(other.split(", ")))


def nearest(name: str, known: Sequence[tuple[str, str]]) -> int | None:
    """The place in ``known``, pairs (class, date), of what a machine of class ``name`` is held to.

    Its own class; else the one that shares most parts with it, of these the one recorded last, of
    these the first by name. None where nothing is known.
    """

    def rank(place: int) -> tuple[bool, int, str]:
        found, date = known[place]
        return found == name, likeness(found, name), date

    places = sorted(range(len(known)), key=lambda place: known[place][0])
    return max(places, key=rank, default=None)  # the first of equal ones
