"""An npz file's arrays and MD5, which another process may have begun to read before.

Reading 30 MB takes 0.2 s, most of which is gone on a second core while the first imports torch. It
is a process and not a thread: a thread slows down the import by a third to a half of what it saves,
as both want Python's lock and change one memory map. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import pickle
import signal
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from fedcore.cores import cores

if TYPE_CHECKING:
    from fedcore.data.checks import Array

_ALIGNMENT: Final = 64  # bytes, more than any type of numpy's needs


class Contents(NamedTuple):
    """``arrays`` as of `fedcore.data.npz.read_npz`; ``md5`` of the file, 32 hexadecimal digits."""

    arrays: dict[str, Array]
    md5: str


_begun: dict[Path, _Reader] = {}


def contents(path: Path) -> Contents:
    """What the npz file at ``path`` holds; DataError where it is missing, damaged or incomplete.

    `reading` of the same path saves the wait, once.
    """
    reader = _begun.pop(path, None)
    found = reader.result() if reader is not None else None
    return found if found is not None else _read(path)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within it a process of its own reads ``path`` for the next call of `contents`.

    What goes wrong in that process shows in `contents`, which then reads the file itself. Does
    nothing on a single core, or where memory cannot be handed over (other systems than Linux).
    """
    if cores() == 1 or not hasattr(os, "memfd_create"):
        yield
        return
    reader = None
    with contextlib.suppress(OSError):  # no process or no memory to be had: read at the time
        reader = _begun[path] = _Reader(path)
    try:
        yield
    finally:
        _begun.pop(path, None)
        if reader is not None:
            reader.close()


def _read(path: Path) -> Contents:
    from fedcore.data.download import md5_of
    from fedcore.data.npz import read_npz

    return Contents(read_npz(path), md5_of(path))


class _Reader:
    """A forked process that reads one file into memory that it shares with this one."""

    def __init__(self, path: Path) -> None:
        context = multiprocessing.get_context("fork")
        self._memory = os.memfd_create("fedcore")
        self._link, there = context.Pipe(duplex=False)
        self._process = context.Process(target=_serve, args=(path, self._memory, there))
        self._process.daemon = True
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of threads, which libraries may have made: none is needed there
                warnings.simplefilter("ignore", DeprecationWarning)
                self._process.start()
        except OSError:
            os.close(self._memory)
            raise
        there.close()

    def result(self) -> Contents | None:
        """What it read, None where it did not get to the end."""
        try:
            pickled, places = self._link.recv()
            size = os.fstat(self._memory).st_size
            # private pages: arrays may be written to, and the mapping lives as long as they do
            memory = memoryview(mmap.mmap(self._memory, size, access=mmap.ACCESS_COPY))
        except (EOFError, OSError):
            return None
        found: Contents = pickle.loads(pickled, buffers=[memory[a:b] for a, b in places])
        return found

    def close(self) -> None:
        """End the process and give back what is not in use."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._link.close()
        os.close(self._memory)


def _serve(path: Path, memory: int, link: Connection) -> None:
    """Read ``path``, leave the arrays in ``memory`` and send where; end without a word if not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who ends this
    warnings.simplefilter("error")  # the parent then reads itself, and notes what was warned of
    with contextlib.suppress(Exception):
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(_read(path), protocol=5, buffer_callback=buffers.append)
        places = []
        with os.fdopen(memory, "wb") as file:
            for buffer in buffers:
                file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
                start = file.tell()
                file.write(buffer.raw())
                places.append((start, file.tell()))
            file.write(b"\0")  # nothing at all could not be mapped
        link.send((pickled, places))
