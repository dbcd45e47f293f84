"""Fetching one file from the net: timed, checked against its digest, and put in place atomically.

`torch.hub.download_url_to_file` does not serve: it waits for a silent server for ever, knows no MD5
(which MedMNIST publishes), and prints a bar.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import secrets
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Final

from fedcore.errors import DataError, FedcoreError

TIMEOUT_SECONDS: Final = 20.0  # without a single byte from the server, not for the whole file
_CHUNK: Final = 1 << 20


class DownloadError(FedcoreError):
    """Why a download failed, in a few words; who asked for it says which file and what to do."""


def download(
    address: str, path: Path, algorithm: str, digest: str, timeout: float = TIMEOUT_SECONDS
) -> None:
    """Download ``address`` to ``path``, whose directory is made if need be.

    ``path`` appears only once the file is complete and its digest by ``algorithm`` ("md5",
    "sha256") begins with ``digest``, so a broken download or another process that fetches the same
    file never leaves half of one. ``timeout`` is in seconds of silence. Raises `DownloadError`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            size, got = _stream(address, file, algorithm, timeout)
        if not got.startswith(digest):
            dots = "..." * (len(digest) < len(got))
            raise DownloadError(
                f"it must have {algorithm.upper()} {digest}{dots}, got {got[: len(digest)]}{dots}"
                f" in {size} bytes"
            )
        os.replace(temporary, path)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the server's answer too, and holds the connection
        raise DownloadError(f"{type(error).__name__}: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # gone already after os.replace, or never made
            temporary.unlink()


def fetch(address: str, path: Path, md5: str, timeout: float = TIMEOUT_SECONDS) -> None:
    """`download` of a data file with this MD5; `DataError` naming file, address and remedy."""
    try:
        download(address, path, "md5", md5, timeout)
    except DownloadError as error:
        raise DataError(
            f"{path} is not there, and downloading it from {address} failed ({error}); put the "
            f"file there yourself, or name the directory that holds {path.name} with --data-dir or "
            "$FEDCORE_DATA"
        ) from error


def md5_of(path: Path) -> str:
    """The MD5 of the file at ``path``, 32 hexadecimal digits; OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: _hash("md5")).hexdigest()


def _hash(algorithm: str) -> hashlib._Hash:
    return hashlib.new(algorithm, usedforsecurity=False)


def _stream(address: str, file: IO[bytes], algorithm: str, timeout: float) -> tuple[int, str]:
    """Copy ``address`` to ``file``; the number of bytes that came, and their digest."""
    digest = _hash(algorithm)
    with urllib.request.urlopen(address, timeout=timeout) as response:
        while chunk := response.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return file.tell(), digest.hexdigest()
