"""Folders of this user's cache whose content is trusted: libraries to load, digests to take."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def user_cache() -> Path:
    """The directory of this user's caches, which need not exist yet.

    %LOCALAPPDATA% on Windows, elsewhere $XDG_CACHE_HOME or ~/.cache. Raises FileNotFoundError where
    it is in the home of a user who has none.
    """
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else home() / "AppData" / "Local"
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification has relative paths ignored
    return Path(cache) if os.path.isabs(cache) else home() / ".cache"


def home() -> Path:
    """The home folder, which is there: nobody's home is made on the way to a cache.

    An empty $HOME, which Python takes for the root of the file system, counts as unset.
    """
    named = os.environ.get("HOME")
    with contextlib.suppress(ImportError, KeyError, RuntimeError):
        if sys.platform != "win32" and not named:
            import pwd

            home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        else:
            home = Path.home()
        if home.is_absolute() and home.is_dir():
            return home
    reason = "this user has no home folder; set HOME or XDG_CACHE_HOME"
    raise FileNotFoundError(errno.ENOENT, reason, "~")


def private_folder(path: Path) -> Path:
    """``path``, made with mode 0700 where it is missing.

    Raises OSError where it cannot be made, belongs to another user, or it or a folder above it can
    be written to by one: what lies there may then be somebody else's.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to user {status.st_uid}, not to {os.getuid()}")
    if os.name == "posix" and status.st_mode & OTHERS_WRITE:
        mode = stat.S_IMODE(status.st_mode)
        raise PermissionError(f"{path} has mode {mode:o}: others can write there; chmod 700 it")
    for folder in Path(os.path.realpath(path)).parents if os.name == "posix" else ():
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise PermissionError(
                f"{folder} has mode {mode:o}: others can put another folder in the place of "
                f"{path}; chmod o-w it"
            )
    return path
