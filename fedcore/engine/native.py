"""Small C functions, compiled once where there is a compiler, for what torch has no fast kernel of.

Whoever calls one has torch's operators to fall back on: without a compiler the result comes later,
and may differ in its last bits, so that the fingerprint says so. The source is a string in a Python
file, so that it is packaged, counted in the digest of the code and carried by a Flower app as all
else is.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from fedcore.data.loading import user_cache

_FLAGS = ("-O3", "-shared", "-fPIC")


@functools.cache
def library(source: str) -> ctypes.CDLL | None:
    """``source``, C11, as a loaded library; None where it cannot be had.

    The compiler is $CC, else cc, gcc or clang. What it made is kept in the user's cache directory,
    by the digest of all that it was made from.
    """
    command = compiler()
    if command is None:
        return None
    flags = (*_FLAGS, *_processor())
    version = subprocess.run([command, "--version"], capture_output=True).stdout.decode()
    made_from = "\0".join((source, *flags, version, platform.machine(), platform.system()))
    name = hashlib.sha256(made_from.encode()).hexdigest()[:16] + ".so"
    try:
        folder = user_cache() / "fedcore" / "native"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _load(folder / name, command, flags, source)
    except OSError:  # no place to write, or nothing there may be executed
        with tempfile.TemporaryDirectory() as folder_name:
            try:
                return _load(Path(folder_name) / name, command, flags, source)
            except OSError:
                return None


def in_threads(work: Callable[[int, int], None], parts: Iterable[int], threads: int) -> None:
    """``work`` (thread, part) for each of ``parts`` on ``threads`` threads, numbered from 0.

    A thread that is done takes the next part: cores that others use, too, are not equally fast.
    ``work`` must not raise: in a thread nobody would hear of it.
    """
    left = deque(parts)

    def labour(thread: int) -> None:
        while True:
            try:
                part = left.popleft()
            except IndexError:  # rather than asked before: another thread may take the last one
                return
            work(thread, part)

    others = [threading.Thread(target=labour, args=(thread,)) for thread in range(1, threads)]
    for other in others:
        other.start()
    labour(0)
    for other in others:
        other.join()


def _processor() -> tuple[str, ...]:
    """The flag for this machine's vectors; none where the compiler's default has to do."""
    found = {64: ("-march=x86-64-v4",), 32: ("-march=x86-64-v3",)}
    return found.get(vector_bytes(), ())


def vector_bytes() -> int:
    """Bytes of this processor's vectors. Compilers take longer ones apart number by number."""
    if torch.cpu._is_avx512_supported():
        return 64
    return 32 if torch.cpu._is_avx2_supported() else 16


def compiler() -> str | None:
    """Path of the C compiler, None where there is none."""
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    return next((path for name in names if (path := shutil.which(name))), None)


def _load(path: Path, command: str, flags: tuple[str, ...], source: str) -> ctypes.CDLL:
    """The library at ``path``, made where it is missing or damaged; OSError where that fails."""
    with contextlib.suppress(OSError):
        return ctypes.CDLL(str(path))
    # several processes may do this at once: each writes a file of its own, the last one stays
    handle, draft = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        run = subprocess.run(
            [command, *flags, "-x", "c", "-", "-o", draft],
            input=source.encode(),
            capture_output=True,
        )
        if run.returncode:
            raise OSError(f"{command} failed: {run.stderr.decode(errors='replace')}")
        os.replace(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)
    return ctypes.CDLL(str(path))
