"""What a case must not do: write or look outside its folder, start a program, take too long.

Python reports what it is about to do to an audit hook, which cannot be taken off again; it acts
only while a case runs in this process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 5.0
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STARTS: Final = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork")
_CHANGES: Final = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink")
_LOOK: Final = 0.25


class Hung(BaseException):
    """A case that took longer than `SECONDS`."""


class Watch:
    """Of one process. ``secret`` is a file that no case has a reason to read."""

    def __init__(self, root: Path, secret: Path) -> None:
        self.root, self.secret = os.path.realpath(root), os.path.realpath(secret)
        self.deeds: list[str] = []
        self.starts_programs = False
        self._seconds = SECONDS
        self._busy = self._looking = False
        self._since: tuple[float, float] | None = None
        self._main = threading.main_thread().ident
        self._thread = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        self._ended = threading.Event()
        sys.addaudithook(self._heard)
        signal.signal(signal.SIGUSR1, self._raise)
        self._clock = threading.Thread(target=self._look, daemon=True)
        self._clock.start()

    @contextlib.contextmanager
    def case(self, seconds: float | None = None) -> Iterator[None]:
        """Within it deeds are noted in ``deeds``, and `Hung` is raised after ``seconds``.

        They are `SECONDS` if not given, without those that the thread waits for a processor.
        """
        self.deeds, self._seconds = [], SECONDS if seconds is None else seconds
        # a module that a case is the first to import is compiled beside its source, by Python
        compiles, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        self._since, self._busy = (time.monotonic(), self._waited()), True
        try:
            yield
        finally:
            self._busy, self._since = False, None
            sys.dont_write_bytecode = compiles

    def close(self) -> None:
        self._ended.set()

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._busy or self._looking or threading.get_ident() != self._main:
            return
        self._looking = True  # what follows looks at files itself
        try:
            self._note(event, arguments)
        finally:
            self._looking = False

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and self._forbidden(path, flags):
                self.deeds.append(f"opens {os.fsdecode(path)}")
        elif event in _STARTS:
            if not self.starts_programs:
                self.deeds.append(f"{event} {arguments!r}"[:200])
        elif event in _CHANGES:
            named = {"os.rename": slice(0, 2), "os.link": slice(0, 2), "os.symlink": slice(1, 2)}
            for path in arguments[named.get(event, slice(0, 1))]:
                if isinstance(path, str | bytes | os.PathLike) and self._outside(path):
                    self.deeds.append(f"{event} {os.fsdecode(path)}")
        elif event == "socket.connect" and arguments[1][0] not in ("127.0.0.1", "::1"):
            self.deeds.append(f"connects to {arguments[1]}")

    def _forbidden(self, path: Any, flags: int) -> bool:
        if os.fsdecode(path) in (os.devnull, "/dev/full"):
            return False
        if flags & _WRITES:
            return self._outside(path)
        return os.path.realpath(os.fsdecode(path)) == self.secret

    def _outside(self, path: Any) -> bool:
        try:
            where = os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(path))))
        except ValueError:
            return False
        return not (where + os.sep).startswith(self.root + os.sep)

    def _waited(self) -> float:
        """Seconds in which the watched thread has waited for a processor."""
        try:
            return int(Path(self._thread).read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def _look(self) -> None:
        while not self._ended.wait(_LOOK):
            since = self._since
            if since is None or self._main is None:
                continue
            if time.monotonic() - since[0] - (self._waited() - since[1]) > self._seconds:
                self._since = None
                signal.pthread_kill(self._main, signal.SIGUSR1)

    def _raise(self, *_: Any) -> None:
        if self._busy:
            raise Hung(f"took longer than {self._seconds:g} s")
