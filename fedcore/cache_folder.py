"""Folders of this user's cache whose content is trusted: libraries to load, digests to take."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def private_folder(path: Path) -> Path:
    """``path``, made with mode 0700 where it is missing.

    Raises OSError where it cannot be made, belongs to another user, or can be written by one: what
    lies there may then be somebody else's.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to user {status.st_uid}, not to {os.getuid()}")
    if os.name == "posix" and status.st_mode & _OTHERS_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        raise PermissionError(f"{path} has mode {mode:o}: others can write there; chmod 700 it")
    return path
