"""The file of a checkpoint: arrays and JSON, written in one step, read without pickle."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fedcore.errors import StoreError
from fedcore.simulation.carried import Arrays


def read(path: Path, key: dict[str, Any]) -> tuple[Any, Arrays]:
    """Content and arrays of the checkpoint at ``path``, of ``key``. StoreError for any other."""
    try:
        # numpy leaves a file that it opened itself open where it cannot be read
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        text = arrays.pop("content").tobytes()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StoreError(f"it cannot be read ({error})") from error
    known = arrays.pop("checksum", None)
    if known is None or known.tobytes() != checksum(text, arrays):
        raise StoreError("it is damaged")
    document = json.loads(text)
    for name in key:
        if document["key"].get(name) != key[name]:
            raise StoreError(f"it is of another {name}")
    return document["content"], arrays


def write(path: Path, key: dict[str, Any], content: Any, arrays: Arrays) -> None:
    """Replace ``path`` in one step; a crash leaves the old checkpoint or the new one."""
    text = json.dumps({"key": key, "content": content}, allow_nan=False).encode()
    parts = {
        **arrays,
        "content": np.frombuffer(text, np.uint8),
        "checksum": np.frombuffer(checksum(text, arrays), np.uint8),
    }
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[-24:]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # that the new name lasts, too
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def checksum(text: bytes, arrays: Arrays) -> bytes:
    """SHA-256 of ``text`` and ``arrays``, by name."""
    digest = hashlib.sha256(text)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
