"""Downloads from a server that does what it likes, and compiled kernels that lie in a cache."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import socket
import threading
import time
from pathlib import Path

from fedcore.data.download import DownloadError, download
from fedcore.native.compiler import MARK, Compiling, _opened
from tests.fuzz.mutate import damaged

GOOD = b"what was published"
_REDIRECTS = (
    "/", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://[::1", "http://127.0.0.1:99999/", "//",
    "http://127.0.0.1:1/", "gopher://x", "data:,x", "\x00", "http:///x", "%", "http://a b/", "é",
    "javascript:x", "http://\udcff/", "/" * 9000,
)  # fmt: skip


class Server:
    """Answers every connection on this machine with what ``answer`` holds, piece by piece."""

    def __init__(self) -> None:
        self.answer: list[bytes] = []
        self.wait = 0.0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(1)
                    connection.recv(65536)
                    for piece in self.answer:
                        connection.sendall(piece)
                        time.sleep(self.wait)


@functools.cache
def server() -> Server:
    return Server()


def downloads(rng: random.Random, folder: Path) -> None:
    there = server()
    there.answer, there.wait = _answer(rng), 0.0
    if rng.random() < 0.01:  # drip: each byte in time, all of them never
        there.wait = 0.05
        there.answer = [bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n" * 9]
    path = folder / "file"
    try:
        digest = hashlib.sha256(GOOD).hexdigest()
        download(there.address, path, "sha256", digest, 0.5, most=1000, seconds=1.0)
    except DownloadError:
        assert list(folder.iterdir()) == [], "a part of a file is left"
        raise
    assert path.read_bytes() == GOOD


def _answer(rng: random.Random) -> list[bytes]:
    status = rng.choice(("200 OK",) * 4 + ("301 x", "302 x", "308 x", "404 x", "100 x", "abc", ""))
    body = rng.choice((GOOD, GOOD, GOOD[:-1], GOOD + b"x", b"", b"x" * 5000))
    heads = []
    if rng.random() < 0.6:
        length = rng.choice((len(body), len(body), 0, -1, 10**18, "x", len(body) + 5))
        heads.append(f"Content-Length: {length}")
    if status[:1] == "3":
        heads.append(f"Location: {rng.choice(_REDIRECTS)}")
    if rng.random() < 0.2:
        heads.append("Transfer-Encoding: chunked")
        body = rng.choice(
            (b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), b"ffffffffff\r\nx", b"zz\r\n")
        )
    if rng.random() < 0.05:
        heads += [f"X-{n}: {'y' * rng.choice((1, 9000))}" for n in range(rng.choice((1, 200)))]
    text = f"HTTP/1.1 {status}\r\n" + "".join(f"{head}\r\n" for head in heads) + "\r\n"
    content = text.encode("latin-1", "replace") + body
    return [damaged(rng, content) if rng.random() < 0.3 else content]


def kernels(rng: random.Random, folder: Path) -> None:
    """A kept library that is not what the compiler made is never loaded."""
    content = _library(folder.parent)
    planted = damaged(rng, content)
    if planted == content:
        planted += b"x"
    path = folder / "x.so"
    path.write_bytes(planted)
    path.chmod(rng.choice((0o700, 0o755, 0o777, 0o722)))
    _opened(path)
    raise AssertionError("a damaged library was loaded")


@functools.cache
def _library(folder: Path) -> bytes:
    place = folder / "compiled"
    if Compiling(lambda: place).library("int answer(void) { return 42; }") is None:
        return b"\x7fELF" + bytes(8000) + MARK + b"0" * 64
    return next(place.glob("*.so")).read_bytes()
