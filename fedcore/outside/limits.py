"""What input from outside may measure. Each limit is checked before what it bounds is done.

`docs/reference/limits.md` states them; a test holds the page to these numbers.
"""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
GIB: Final = 1 << 30

# files
TOML_BYTES: Final = MIB
JSON_BYTES: Final = 256 * MIB
WEIGHTS_TIMES: Final = 4  # the network's own bytes, for float64 and a second copy, and beside that
WEIGHTS_BESIDE: Final = 64 * MIB  # for the head of another data set
IMAGE_FILE_BYTES: Final = 256 * MIB
IMAGE_PIXELS: Final = 64 * MIB  # of one image: 8192 x 8192
PLAIN_PIXELS: Final = 4 * MIB  # of one written in decimal digits, which are read in Python
ZIP_TABLE_BYTES: Final = MIB  # the table of an archive's members
ARRAY_NDIM: Final = 8
#: Beyond `EXPANDED_FREELY` nothing may expand to more than so many times its own size.
EXPANSION: Final = 100
EXPANDED_FREELY: Final = 64 * MIB
#: Brackets and tables within one another, in JSON and TOML.
DEPTH: Final = 64
#: Integers in JSON and TOML lie within -2^64 .. 2^64.
LARGEST_INTEGER: Final = 1 << 64

# values typed
IMAGE_SIDE: Final = 1024
#: Of the fields of a scenario.
FIELDS: Final = {
    "image_size": IMAGE_SIDE,
    "partition_seed": (1 << 63) - 1,
    "num_clients": 100_000,
    "absent_rounds": 100_000,
    "min_present": 100_000,
    "rounds": 100_000,
    "eval_every": 100_000,
    "local_epochs": 10_000,
    "local_steps": 1_000_000,
    "batch_size": 1_000_000,
}
SEED: Final = (1 << 63) - 1
SEEDS: Final = 10_000
JOBS: Final = 1024
HOURS: Final = 24 * 366.0

# seconds
IMPORT_SECONDS: Final = 60.0  # of a module named on the command line, in all
IDLE_SECONDS: Final = 4.0  # while it neither computes nor waits for a processor
SILENCE_SECONDS: Final = 20.0  # of a server, without a byte
SLOWEST_BYTES: Final = 100_000  # a second, of a download in all
VERSION_SECONDS: Final = 4.0  # for `cc --version`
COMPILE_SECONDS: Final = 120.0  # for one kernel

_CGROUPS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache
def data_bytes() -> int:
    """Bytes that a data set may take in memory: half of what this machine or container has."""
    return memory_bytes() // 2


def memory_bytes() -> int:
    """Memory of this machine, or of the container that limits it; 8 GiB where nothing tells."""
    sizes = []
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for place in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int(Path(place).read_text(encoding="ascii")))
    sizes = [size for size in sizes if size > 0]
    return min(sizes) if sizes else 8 * GIB


def size_text(count: float) -> str:
    """``count`` bytes for a reader: ``512 bytes``, ``1.5 GiB``."""
    for unit, name in ((1 << 40, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (1024, "KiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:g} bytes"
