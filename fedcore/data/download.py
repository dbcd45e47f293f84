"""Fetching one file from the net: timed, checked against its MD5, and put in place atomically."""

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

from fedcore.errors import DataError

TIMEOUT_SECONDS: Final = 20.0  # without a single byte from the server, not for the whole file
_CHUNK: Final = 1 << 20


def fetch(address: str, path: Path, md5: str, timeout: float = TIMEOUT_SECONDS) -> None:
    """Download ``address`` to ``path``, whose directory is made if need be.

    ``path`` appears only once the file is complete and its MD5 is ``md5``, so a broken download or
    another process that fetches the same file never leaves half of one. ``timeout`` is in seconds
    of silence. Raises `DataError` naming file, address, reason and remedy.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            found = _stream(address, file, timeout)
        if found != md5:
            raise _failure(address, path, f"it must have MD5 {md5}, got {found}")
        os.replace(temporary, path)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the server's answer too, and holds the connection
        raise _failure(address, path, f"{type(error).__name__}: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # gone already after os.replace, or never made
            temporary.unlink()


def md5_of(path: Path) -> str:
    """The MD5 of the file at ``path``, 32 hexadecimal digits; OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _stream(address: str, file: IO[bytes], timeout: float) -> str:
    """Copy ``address`` to ``file``; the MD5 of what came."""
    digest = _md5()
    with urllib.request.urlopen(address, timeout=timeout) as response:
        while chunk := response.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _failure(address: str, path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not there, and downloading it from {address} failed ({reason}); put the file "
        f"there yourself, or name the directory that holds {path.name} with --data-dir or "
        "$FEDCORE_DATA"
    )
