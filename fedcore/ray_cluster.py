"""A Ray cluster of this machine, in a process of its own: what hangs or fails is started anew.

In the process that uses it Ray's start cannot be given a time limit, nor be tried a second time.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence

from fedcore.errors import FedcoreError

#: Seconds that a cluster may take to be there; it takes 3, on a machine that is busy 20.
START_SECONDS = 50.0
START_ATTEMPTS = 2

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # before Ray 3 a worker that is not given a GPU would be made to see none
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
#: Of a cluster that is started here, and of those who connect to it.
LOCAL = {
    # Ray would put the machine's address for 127.0.0.1 and listen on every interface. The name is
    # historical: on Linux, too, 0 means one machine and loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray starts workers at nice 15. Beside ordinary processes they then get next to nothing, do not
    # report within a minute, are ended and started again, and whoever waits for them waits forever.
    "RAY_worker_niceness": "0",
}


class RayError(FedcoreError, RuntimeError):
    """Ray is missing, or its cluster cannot be reached."""


@contextlib.contextmanager
def local_cluster(cpus: int | None) -> Iterator[str]:
    """The address of a cluster of ``cpus`` CPUs on loopback (None: this machine's), until exit."""
    with tempfile.TemporaryDirectory(prefix="fedcore-ray-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-W", "ignore", "-c", _HEAD, str(cpus or 0), folder]
        with cluster_of(command) as address:
            yield address


@contextlib.contextmanager
def cluster_of(command: Sequence[str]) -> Iterator[str]:
    """The address that ``command`` prints once its cluster is there; its standard input ends it.

    Raises RayError where, `START_ATTEMPTS` times, it prints none within `START_SECONDS`, or ends.
    """
    prepare_environment(local=True)
    problem = ""
    for _ in range(START_ATTEMPTS):
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            address = ""
            try:
                address = _first_line(process, START_SECONDS)
                if address:
                    yield address
                    return
                errors.seek(0)
                problem = _problem(process, errors.read())
            finally:
                _end(process, politely=bool(address))
    raise RayError(
        f"no Ray cluster starts on this machine ({problem}, tried {START_ATTEMPTS} times): end "
        "what keeps it busy, or run without Ray"
    )


def prepare_environment(*, local: bool) -> None:
    """Settings for this process and those that it starts, where the user has made none."""
    for name, value in {**SETTINGS, **(LOCAL if local else {})}.items():
        os.environ.setdefault(name, value)
    # where Ray is imported already it has read them: it would look for a cluster on 127.0.0.1 at
    # the machine's address, where nobody listens, for many minutes
    constants = sys.modules.get("ray._private.ray_constants")
    if local and constants is not None:
        constants.ENABLE_RAY_CLUSTER = False  # type: ignore[attr-defined]


def within(seconds: float, call: Callable[[], object]) -> None:
    """Make ``call`` in a thread; RayError where it takes longer, which then is left alone."""
    raised: queue.Queue[BaseException | None] = queue.Queue()

    def work() -> None:
        try:
            call()
        except BaseException as error:  # told to the thread that waits
            raised.put(error)
        else:
            raised.put(None)

    threading.Thread(target=work, name="fedcore-ray-start", daemon=True).start()
    try:
        error = raised.get(timeout=seconds)
    except queue.Empty:
        raise RayError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error


def _first_line(process: subprocess.Popen[bytes], seconds: float) -> str:
    """What ``process`` prints first; nothing after ``seconds`` or where it ends before."""
    found: queue.Queue[bytes] = queue.Queue()
    stream = process.stdout
    assert stream is not None
    threading.Thread(target=lambda: found.put(stream.readline()), daemon=True).start()
    with contextlib.suppress(queue.Empty):
        return found.get(timeout=seconds).decode().strip()
    return ""


def _problem(process: subprocess.Popen[bytes], errors: bytes) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1)  # one that ends closes its output a little earlier
    if process.returncode is None:
        return f"it did not answer within {START_SECONDS:g} s"
    lines = errors.decode(errors="replace").strip().splitlines() or ["without a word"]
    return f"it ended with status {process.returncode}: {lines[-1]}"


def _end(process: subprocess.Popen[bytes], *, politely: bool) -> None:
    """End ``process``: it takes its cluster with it, as that shares its fate."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"end" if politely else b"")
        process.stdin.close()
    if politely:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


_HEAD = """
import os, signal, sys, ray
ray.init(
    address="local", num_cpus=int(sys.argv[1]) or None, _temp_dir=sys.argv[2],
    _node_ip_address="127.0.0.1", include_dashboard=False, log_to_driver=False,
    logging_level="ERROR",
)
print(ray.get_runtime_context().gcs_address, flush=True)
if not sys.stdin.read():  # whoever started this has ended without a word
    os.killpg(0, signal.SIGKILL)
ray.shutdown()
"""
