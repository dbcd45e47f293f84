"""The C compiler of this machine, and what it has made: libraries, each compiled once and kept.

Without a compiler the results of what calls them come later, and may differ in their last bits, so
that the fingerprint holds a digest of what was loaded (`fedcore.native.kernels`).

The compiler is $CC, with its words split as by a shell (``ccache gcc``, ``gcc -m64``), else cc, gcc
or clang. $CFLAGS is not read: flags that are wanted belong into $CC. FEDCORE_NATIVE=0 switches
all of this off.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fedcore.cache_folder import OTHERS_WRITE, private_folder, user_cache
from fedcore.native.switch import switched_off
from fedcore.outside.files import open_file
from fedcore.outside.limits import COMPILE_SECONDS, VERSION_SECONDS

#: What all processors' libraries are compiled with.
COMMON_FLAGS = ("-O3", "-shared", "-fPIC")


#: At the end of a kept file, where no loader looks: the SHA-256 of all before it follows.
MARK = b"\nfedcore sha256 "
_DIGITS = 64


class Library(ctypes.CDLL):
    """A loaded library. ``digest``: 16 hexadecimal digits of the SHA-256 of what was compiled."""

    digest: str


class CompileError(OSError):
    """A compiler that fails."""


class TimeLimitError(CompileError):
    """A compiler that does not end in time."""


def _kept() -> Path:
    return user_cache() / "fedcore" / "native"


@dataclass
class Compiling:
    """Libraries by their source, and what stood in the way of others.

    ``folder`` gives where they are kept; the limits are seconds. ``problems`` says why libraries
    could not be had or kept, in the order in which that happened; ``missing`` are digests of the
    sources that there is no library of although there is a compiler.
    """

    folder: Callable[[], Path] = _kept
    version_seconds: float = VERSION_SECONDS
    compile_seconds: float = COMPILE_SECONDS
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    _made: dict[tuple[str, tuple[str, ...]], Library | None] = field(default_factory=dict)
    _identities: dict[tuple[str, ...], str | OSError] = field(default_factory=dict)
    _hanging: set[tuple[str, ...]] = field(default_factory=set)  # not waited for again

    def library(self, source: str) -> Library | None:
        """``source``, C11, as a loaded library; None where it cannot be had: `problems` says why.

        What the compiler made is kept in the user's cache directory, by the digest of all that it
        was made from, where nobody else can write to that; else in a folder of this process.
        """
        key = source, target().flags
        if key not in self._made:
            self._made[key] = self._make(source)
        return self._made[key]

    def _make(self, source: str) -> Library | None:
        command = compiler()
        if command is None:
            return None
        try:
            return self._make_by(command, source)
        except OSError as error:
            self.problems.append(str(error))
            self.missing.append(hashlib.sha256(source.encode()).hexdigest())
            return None

    def _make_by(self, command: tuple[str, ...], source: str) -> Library:
        flags, identity = (*COMMON_FLAGS, *target().flags), self._identity(command)
        if isinstance(identity, OSError):
            raise identity
        if command in self._hanging:
            raise CompileError(f"{shlex.join(command)} did not end for another kernel")
        made_from = (source, *flags, identity, platform.machine(), platform.system())
        name = hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:16] + ".so"
        try:
            folder = private_folder(self.folder())
            return self._load(folder / name, command, flags, source)
        except CompileError:
            raise
        except OSError as error:  # no place to write, or nothing there may be executed
            self.problems.append(f"what is compiled cannot be kept: {error}")
        with tempfile.TemporaryDirectory() as folder_name:
            return self._load(Path(folder_name) / name, command, flags, source)

    def _identity(self, command: tuple[str, ...]) -> str | OSError:
        """What sets a compiler apart: its words, the content of programs among them, its version.

        A wrapper prints the version of what it wraps; edited in place, it keeps its path. Where the
        compiler does not tell its version: why.
        """
        if command not in self._identities:
            found = [*command]
            try:
                for word in command:
                    program = shutil.which(word)
                    if program is not None:
                        found.append(hashlib.sha256(Path(program).read_bytes()).hexdigest())
                version = _output([*command, "--version"], b"", self.version_seconds)
                self._identities[command] = "\0".join([*found, version])
            except OSError as error:
                self._identities[command] = error
        return self._identities[command]

    def _load(
        self, path: Path, command: tuple[str, ...], flags: tuple[str, ...], source: str
    ) -> Library:
        """The library at ``path``, made where it is missing or damaged. OSError if that fails."""
        with contextlib.suppress(OSError):
            return _opened(path)
        # several processes may do this at once: each writes a file of its own, the last one stays
        handle, draft = tempfile.mkstemp(suffix=".so", dir=path.parent)
        os.close(handle)
        try:
            given = [*command, *flags, "-x", "c", "-", "-o", draft]
            try:
                _output(given, source.encode(), self.compile_seconds)
            except TimeLimitError:
                self._hanging.add(command)
                raise
            _finish(Path(draft))
            os.replace(draft, path)
            _sync_folder(path.parent)
        finally:
            Path(draft).unlink(missing_ok=True)
        return _opened(path)


#: Of this process.
COMPILING = Compiling()


@dataclass(frozen=True)
class Target:
    """``vector``: bytes of a vector that kernels are written for; ``flags``: the compiler's."""

    vector: int
    flags: tuple[str, ...]

    @property
    def lanes(self) -> int:
        """Floats of a vector."""
        return self.vector // 4


_BY_AVX512 = Target(64, ("-march=x86-64-v4",))
_BY_AVX2 = Target(32, ("-march=x86-64-v3",))
_PLAIN = Target(16, ())  # the compiler's default has to do
_forced: int | None = None


def target() -> Target:
    """This processor's. Compilers take longer vectors apart number by number."""
    found = _PLAIN
    if torch.cpu._is_avx512_supported():
        found = _BY_AVX512
    elif torch.cpu._is_avx2_supported():
        found = _BY_AVX2
    return found if _forced is None else Target(_forced, found.flags)


@contextlib.contextmanager
def vectors_of(size: int) -> Iterator[None]:
    """Within it kernels are written for vectors of ``size`` bytes: 16, 32 or 64."""
    global _forced
    before, _forced = _forced, size
    try:
        yield
    finally:
        _forced = before


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


def _finish(draft: Path) -> None:
    """Put the digest of ``draft`` at its end, and both on the disk."""
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    with draft.open("ab") as file:
        file.write(MARK + digest.encode())
        file.flush()
        os.fsync(file.fileno())
    os.chmod(draft, stat.S_IRWXU)


def _sync_folder(folder: Path) -> None:
    """Put the names in ``folder`` on the disk, where a system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _opened(path: Path) -> Library:
    """The library at ``path``.

    OSError where it is missing, is another user's, can be written to by one, or is not, byte for
    byte, what the compiler made: a file that was cut off would end this process when it is called.
    """
    with open_file(path) as file:
        status = os.fstat(file.fileno())
        if path.is_symlink():
            raise PermissionError(f"{path} is a link")
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            raise PermissionError(f"{path} belongs to another user")
        if os.name == "posix" and status.st_mode & OTHERS_WRITE:
            raise PermissionError(f"{path} can be written to by others")
        content = file.read()
    made, end = content[: -len(MARK) - _DIGITS], content[-len(MARK) - _DIGITS :]
    digest = hashlib.sha256(made).hexdigest()
    if end != MARK + digest.encode():
        raise OSError(f"{path} is damaged")
    loaded = Library(str(path))
    loaded.digest = digest[:16]
    return loaded
