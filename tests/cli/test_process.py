"""The command as a process: statuses, streams and exit handlers survive its quick end."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
import textwrap

import pytest

from fedcore.cli.process import importing


def ended(code: str) -> subprocess.CompletedProcess[str]:
    """What a process that runs ``code`` left, its output piped, so that it is buffered."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=buffered
    )


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--version"], 0), (["run", "--rounds", "none"], 2), (["report", "nowhere"], 2)],
)
def test_the_command_ends_with_its_status(arguments: list[str], status: int) -> None:
    command = [sys.executable, "-m", "fedcore", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert (done.stdout or done.stderr).endswith("\n")
    assert "Traceback" not in done.stderr


def test_handlers_threads_and_streams_are_waited_for() -> None:
    done = ended("""
        import atexit, sys, threading, time
        from fedcore.cli.process import exit_with

        def main():
            def late():
                time.sleep(0.2)
                print("thread")
            threading.Thread(target=late).start()
            atexit.register(print, "handler")
            print("main")
            return 3

        class Loud:
            def __del__(self):
                print("destroyed")
        loud = Loud()
        exit_with(main)
    """)
    assert done.returncode == 3
    assert done.stdout.split() == ["main", "thread", "handler"]


def test_an_exception_shows_and_is_status_1() -> None:
    done = ended("""
        from fedcore.cli.process import exit_with
        exit_with(lambda: 1 // 0)
    """)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_a_reader_that_has_gone_is_no_error() -> None:
    done = ended("""
        import os
        from fedcore.cli.process import exit_with

        def main():
            print("lost")
            os.close(1)
            return 0
        exit_with(main)
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_collector_rests_during_imports_only() -> None:
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError), importing():
        importlib.import_module("a_module_that_is_not_there")
    assert gc.isenabled()
    with importing():
        assert not gc.isenabled()
    assert gc.isenabled()
