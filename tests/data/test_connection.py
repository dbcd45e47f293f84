"""Downloads from servers that do what they like; each on loopback, for less than a second."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedcore.data.download import DownloadError, download

GOOD = b"what was published"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """Serves pieces with pauses between them to every connection; returns the address."""
    sockets = []

    def serve(*pieces: bytes, pause: float = 0.0) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(65536)
                        for piece in pieces:
                            connection.sendall(piece)
                            time.sleep(pause)

        threading.Thread(target=answer, daemon=True).start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}/file"

    yield serve
    for one in sockets:
        one.close()


def fetched(address: str, tmp_path: Path, **limits: float) -> bytes:
    path = tmp_path / "folder" / "file"
    digest = hashlib.sha256(GOOD).hexdigest()
    try:
        download(address, path, "sha256", digest, 2, **{"most": 1000, "seconds": 5, **limits})
    finally:
        assert path.is_file() or list(path.parent.iterdir()) == []  # no part is left
    return path.read_bytes()


def test_what_was_published(served: Callable[..., str], tmp_path: Path) -> None:
    assert fetched(served(OK, b"\r\n", GOOD), tmp_path) == GOOD
    length = b"Content-Length: %d\r\n\r\n" % len(GOOD)
    other = served(OK, length, GOOD)
    there = served(b"HTTP/1.1 302 x\r\nLocation: %s\r\n\r\n" % other.encode())
    assert fetched(there, tmp_path / "redirected") == GOOD


def test_more_than_may_be(served: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="may have 1000 bytes, the server offers 10000000000"):
        fetched(served(OK, b"Content-Length: 10000000000\r\n\r\n", b"x" * 100), tmp_path)
    with pytest.raises(DownloadError, match="may have 1000 bytes, the server sends more"):
        fetched(served(OK, b"\r\n", *[b"x" * 100] * 200), tmp_path)


@pytest.mark.parametrize(
    "pieces",
    [
        [bytes([byte]) for byte in OK * 200],  # never ends its first lines
        [OK + b"\r\n", *[b"x"] * 500],  # nor its content
        [b"HTTP/1.1 100 Continue\r\n\r\n"] * 500,
    ],
)
def test_a_byte_now_and_then_is_not_waited_for(
    served: Callable[..., str], tmp_path: Path, pieces: list[bytes]
) -> None:
    """Each byte comes in time, all of them never."""
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"took longer than 0\.6 s"):
        fetched(served(*pieces, pause=0.02), tmp_path, seconds=0.6)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    "where",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher:x",
        "//",
        "http://[::1",
        "http:///x",
        "\x00",
    ],
)
def test_redirections_elsewhere(served: Callable[..., str], tmp_path: Path, where: str) -> None:
    address = served(b"HTTP/1.1 302 x\r\nLocation: %s\r\n\r\n" % where.encode())
    with pytest.raises(DownloadError):
        fetched(address, tmp_path)


def test_the_body_of_a_redirection_is_not_read(served: Callable[..., str], tmp_path: Path) -> None:
    other = served(OK, b"\r\n", GOOD)
    head = b"HTTP/1.1 302 x\r\nLocation: %s\r\n\r\n" % other.encode()
    began = time.monotonic()
    assert fetched(served(head, *[b"x"] * 1000, pause=0.01), tmp_path) == GOOD
    assert time.monotonic() - began < 5


def test_a_digest_is_compared_in_full(served: Callable[..., str], tmp_path: Path) -> None:
    digest = hashlib.sha256(GOOD).hexdigest()[:8] + "0" * 56
    address, path = served(OK, b"\r\n", GOOD), tmp_path / "file"
    with pytest.raises(DownloadError, match=r"SHA256 \w{64}, got \w{64} in 18 bytes"):
        download(address, path, "sha256", digest, 2)
