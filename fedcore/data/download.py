"""Fetching one file from the net: bounded, checked against its digest, put in place atomically.

The server and whoever stands between may send anything: of any size, for ever, or lead elsewhere.

`torch.hub.download_url_to_file` does not serve: it waits for a silent server for ever, knows no MD5
(which MedMNIST publishes), and prints a bar.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import secrets
from pathlib import Path
from typing import IO, Final

from fedcore.data.connection import Refused, Watch, opening
from fedcore.errors import DataError, FedcoreError
from fedcore.outside.files import open_file
from fedcore.outside.limits import MIB, SILENCE_SECONDS, SLOWEST_BYTES, size_text
from fedcore.outside.paths import printable

TIMEOUT_SECONDS: Final = SILENCE_SECONDS
_CHUNK: Final = 1 << 16


class DownloadError(FedcoreError):
    """Why a download failed, in a few words; who asked for it says which file and what to do."""


def download(
    address: str,
    path: Path,
    algorithm: str,
    digest: str,
    timeout: float = TIMEOUT_SECONDS,
    *,
    most: int = 512 * MIB,
    seconds: float | None = None,
) -> None:
    """Download ``address`` to ``path``, whose directory is made if need be.

    ``path`` appears only once the file is complete and its digest by ``algorithm`` ("md5",
    "sha256") is ``digest``, so a broken download or another process that fetches the same file
    never leaves half of one. ``timeout`` is in seconds of silence, ``seconds`` for all of it, at
    first the name of the server (None: what ``most`` bytes take at `SLOWEST_BYTES` a second, and
    ``timeout`` more). Of more than ``most`` bytes nothing is kept. Redirections stay with http and
    https, and never leave https. Raises `DownloadError`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    limit = timeout + most / SLOWEST_BYTES if seconds is None else seconds
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        watch = Watch(limit)
        with temporary.open("xb") as file, opening(address, timeout, watch) as answer:
            size, got = _stream(answer, file, algorithm, most)
        if got != digest:
            raise DownloadError(
                f"it must have {algorithm.upper()} {digest}, got {got} in {size} bytes"
            )
        os.replace(temporary, path)
    except Refused as error:
        raise DownloadError(str(error)) from error
    # a server may answer with what is no HTTP, no address, or no text
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        text = printable(error)[:200]
        raise DownloadError(f"{type(error).__name__}: {text}") from error
    finally:
        with contextlib.suppress(OSError):  # gone already after os.replace, or never made
            temporary.unlink()


def fetch(
    address: str,
    path: Path,
    md5: str,
    timeout: float = TIMEOUT_SECONDS,
    *,
    most: int = 512 * MIB,
    seconds: float | None = None,
) -> None:
    """`download` of a data file with this MD5; `DataError` naming file, address and remedy."""
    try:
        download(address, path, "md5", md5, timeout, most=most, seconds=seconds)
    except DownloadError as error:
        raise DataError(
            f"{path} is not there, and downloading it from {address} failed ({error}); put the "
            f"file there yourself, or name the directory that holds {path.name} with --data-dir or "
            "$FEDCORE_DATA"
        ) from error


def md5_of(path: Path) -> str:
    """The MD5 of the file at ``path``, 32 hexadecimal digits; OSError where it cannot be read."""
    with open_file(path) as file:
        return hashlib.file_digest(file, lambda: _hash("md5")).hexdigest()


def _hash(algorithm: str) -> hashlib._Hash:
    return hashlib.new(algorithm, usedforsecurity=False)


def _stream(
    answer: http.client.HTTPResponse, file: IO[bytes], algorithm: str, most: int
) -> tuple[int, str]:
    """Copy ``answer`` to ``file``; the number of bytes that came, and their digest."""
    length = getattr(answer, "length", None)  # a file:// address has none
    if length is not None and length > most:
        raise DownloadError(f"it may have {size_text(most)}, the server offers {length}")
    digest = _hash(algorithm)
    while chunk := answer.read(_CHUNK):
        if file.tell() + len(chunk) > most:
            raise DownloadError(f"it may have {size_text(most)}, the server sends more")
        digest.update(chunk)
        file.write(chunk)
    return file.tell(), digest.hexdigest()
