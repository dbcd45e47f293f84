"""The server that forks the workers: what it imports, and that it ends with its owner.

The server is multiprocessing's. It imports this module before torch, which takes seconds, so that
it ends with its owner during these, too; its workers end with it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.context import BaseContext

from fedcore.lifeline import end_with_parent

#: Process id of the owner, in the server's environment while it starts.
_OWNER = "FEDCORE_FORKSERVER_OWNER"
_PRELOADED = ["fedcore.harness.runs.forkserver", "fedcore.harness.runs.job"]


def context() -> BaseContext:
    """The context to start workers in; its server runs, where the system can have one.

    Call it in the main thread first: Linux would end a server with the thread that started it, so
    one that another thread starts ends only once its workers have ended.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(_PRELOADED))
    owned = threading.current_thread() is threading.main_thread()
    if owned:
        os.environ[_OWNER] = str(os.getpid())
    try:
        forkserver.ensure_running()
    finally:
        if owned:
            del os.environ[_OWNER]
    return made


if _owner := os.environ.pop(_OWNER, ""):  # in the server only, which imports this first
    end_with_parent(int(_owner))
