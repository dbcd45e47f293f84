"""Python processes that need not import torch: forked from one that has.

A process of its own imports torch for two seconds, and there are some hundred sessions of pytest in
these tests that need one each. `ForkedPython` keeps a process that has imported what others wrote
(`PRELOADED`), never fedcore or pytest, and forks it for each ``python -m MODULE ARGUMENTS``: that
has its own modules, folder, environment and sys.path, as it would have if it were started anew.
Not for tests of what is imported, or of how long a start takes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PRELOADED = (
    "torch",
    "numpy",
    "scipy.special",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
)


class ForkedPython:
    """Runs modules, one at a time, in forks of a process that has imported `PRELOADED`."""

    def __init__(self) -> None:
        # with no path but its own: a fork adds what its environment says
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self._server = subprocess.Popen(
            [sys.executable, __file__, *PRELOADED],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, module: str, arguments: Sequence[str], env: Mapping[str, str], output: Path
    ) -> tuple[int, str, str]:
        """(exit status, standard output, standard error) of ``python -m module arguments``.

        In the current folder; ``output`` is a folder for files. A signal that ended it is negative.
        """
        out, err = output / "forked.out", output / "forked.err"
        request = {
            "module": module,
            "arguments": list(arguments),
            "env": dict(env),
            "folder": os.getcwd(),
            "out": str(out),
            "err": str(err),
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        assert answer, f"the process to fork ended with status {self._server.poll()}"
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
        return int(answer), texts[0], texts[1]

    def close(self) -> None:
        """End the process; it has no forks then."""
        self._server.communicate()


def _serve() -> dict[str, Any] | None:
    """Fork for each request; returns the request in a fork, None where there are no more."""
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            return json.loads(line)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def _become(request: Mapping[str, Any]) -> None:
    """Take the place, environment, arguments and path of a process that was started anew."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, (name, flags) in enumerate(
        ((os.devnull, os.O_RDONLY), (request["out"], new), (request["err"], new))
    ):
        opened = os.open(name, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  without what was read
    more = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:] = [os.getcwd(), *more, *sys.path[1:]]
    sys.path_importer_cache.clear()
    sys.argv = [request["module"], *request["arguments"]]
    sys.orig_argv = [sys.executable, "-m", *sys.argv]


if __name__ == "__main__":
    import importlib
    import runpy

    for _name in sys.argv[1:]:
        with contextlib.suppress(ImportError):  # a fork says so, if it needs that
            importlib.import_module(_name)
    gc.freeze()  # what is there need not be looked through by each fork
    if (_request := _serve()) is not None:
        _become(_request)
        runpy.run_module(_request["module"], run_name="__main__", alter_sys=True)
