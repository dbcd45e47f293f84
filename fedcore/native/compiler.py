"""Small C functions, compiled once where there is a compiler, for what torch has no fast kernel of.

Whoever calls one has torch's operators to fall back on: without a compiler the result comes later,
and may differ in its last bits, so that the fingerprint holds a digest of what was loaded
(`fedcore.native.kernels`). The source is a string in a Python file, so that it is packaged, counted in
the digest of the code and carried by a Flower app as all else is.

The compiler is $CC, with its words split as by a shell (``ccache gcc``, ``gcc -m64``), else cc, gcc
or clang. $CFLAGS is not read: flags that are wanted belong into $CC. FEDCORE_NATIVE=0 switches
all of this off.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from fedcore.cache_folder import private_folder
from fedcore.data.loading import user_cache

_FLAGS = ("-O3", "-shared", "-fPIC")
_VERSION_SECONDS = 60.0
_COMPILE_SECONDS = 300.0

#: Why libraries could not be had or kept, in the order in which that happened in this process.
problems: list[str] = []
#: Digests of the sources that this process has no library of although there is a compiler.
missing: list[str] = []
_hanging: set[tuple[str, ...]] = set()  # compilers that are not waited for again


class Library(ctypes.CDLL):
    """A loaded library. ``digest``: 16 hexadecimal digits of the SHA-256 of its file."""

    digest: str


@functools.cache
def library(source: str) -> Library | None:
    """``source``, C11, as a loaded library; None where it cannot be had: `problems` says why.

    What the compiler made is kept in the user's cache directory, by the digest of all that it was
    made from, where nobody else can write to that; else in a folder of this process.
    """
    command = compiler()
    if command is None:
        return None
    try:
        return _made(command, source)
    except OSError as error:
        problems.append(str(error))
        missing.append(hashlib.sha256(source.encode()).hexdigest())
        return None


def _made(command: tuple[str, ...], source: str) -> Library:
    flags, identity = (*_FLAGS, *_processor()), _identity(command)
    if isinstance(identity, OSError):
        raise identity
    if command in _hanging:
        raise CompileError(f"{shlex.join(command)} did not end for another kernel")
    made_from = (source, *flags, identity, platform.machine(), platform.system())
    name = hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:16] + ".so"
    try:
        folder = private_folder(user_cache() / "fedcore" / "native")
        return _load(folder / name, command, flags, source)
    except CompileError:
        raise
    except OSError as error:  # no place to write, or nothing there may be executed
        problems.append(f"what is compiled cannot be kept: {error}")
    with tempfile.TemporaryDirectory() as folder_name:
        return _load(Path(folder_name) / name, command, flags, source)


class CompileError(OSError):
    """A compiler that fails."""


class TimeLimitError(CompileError):
    """A compiler that does not end in time."""


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


def switched_off() -> bool:
    """Whether FEDCORE_NATIVE=0 asks for torch's operators alone."""
    return os.environ.get("FEDCORE_NATIVE") == "0"


def compiler() -> tuple[str, ...] | None:
    """The command of the C compiler, its first word a path; None without one, or switched off."""
    if switched_off():
        return None
    try:
        words = shlex.split(os.environ.get("CC", ""))
    except ValueError:  # a quote that is never closed
        return None
    for name, *rest in [words] if words else [["cc"], ["gcc"], ["clang"]]:
        path = shutil.which(name)
        if path is not None:
            return path, *rest
    return None


@functools.cache
def _identity(command: tuple[str, ...]) -> str | OSError:
    """What sets this compiler apart: its words, the content of programs among them, its version.

    A wrapper prints the version of what it wraps; edited in place, it keeps its path. Where the
    compiler does not tell its version: why.
    """
    found = [*command]
    try:
        for word in command:
            program = shutil.which(word)
            if program is not None:
                found.append(hashlib.sha256(Path(program).read_bytes()).hexdigest())
        return "\0".join([*found, _output([*command, "--version"], b"", _VERSION_SECONDS)])
    except OSError as error:
        return error


def _output(command: Sequence[str], given: bytes, seconds: float) -> str:
    """What ``command`` prints when ``given`` is its input. CompileError where it fails.

    After ``seconds`` it is ended, with all that it has started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        printed, errors = process.communicate(given, timeout=seconds)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if isinstance(error, subprocess.TimeoutExpired):
            what = f"{shlex.join(command)} did not end within {seconds:g} s"
            raise TimeLimitError(what) from None
        raise
    if process.returncode:
        first = errors.decode(errors="replace").strip().partition("\n")[0]
        raise CompileError(f"{shlex.join(command)} ended with status {process.returncode}: {first}")
    return printed.decode(errors="replace")


def _load(path: Path, command: tuple[str, ...], flags: tuple[str, ...], source: str) -> Library:
    """The library at ``path``, made where it is missing or damaged; OSError where that fails."""
    with contextlib.suppress(OSError):
        return _opened(path)
    # several processes may do this at once: each writes a file of its own, the last one stays
    handle, draft = tempfile.mkstemp(suffix=".so", dir=path.parent)
    os.close(handle)
    try:
        given = [*command, *flags, "-x", "c", "-", "-o", draft]
        try:
            _output(given, source.encode(), _COMPILE_SECONDS)
        except TimeLimitError:
            _hanging.add(command)
            raise
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(draft, stat.S_IRWXU)
        os.replace(draft, path)
    finally:
        Path(draft).unlink(missing_ok=True)
    return _opened(path)


def _opened(path: Path) -> Library:
    """The library at ``path``. OSError where it is missing, damaged, or another user's."""
    if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    loaded = Library(str(path))
    loaded.digest = digest
    return loaded
