"""A federation of separate processes on loopback: SuperLink and SuperNodes, TLS, node keys.

`python -m docs.flower.demo` runs one from start to end. Every process is started here, in a
session of its own, and ended by its id; on Linux it ends with this process, too, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from flwr.cli.constant import (
    ACCESS_TOKEN_STORE_KEY,
    AUTHN_TYPE_STORE_KEY,
    REFRESH_TOKEN_STORE_KEY,
)
from flwr.common.constant import AuthnType
from flwr.supercore.credential_store import FileCredentialStore

from docs.flower.keys import make_certificates, make_node_key, make_secret
from fedcore.errors import FedcoreError

ROOT = Path(__file__).resolve().parents[2]
_CONNECTION = "fedcore"
_CONTROL, _TASKS = "control.key", "superexec.key"
# Becomes the command in its arguments, and gets SIGTERM (15) when its parent is gone, as
# PR_SET_PDEATHSIG (1) outlives exec. What these processes start looks out for its own parent.
_TIED = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started this one has ended")
os.execvp(sys.argv[2], sys.argv[2:])
"""
_PATIENCE = 120.0  # seconds that a process may take to be there


class Deployment:
    """A SuperLink with TLS, node authentication and keys of its APIs, and its SuperNodes.

    A context manager. ``folder`` takes keys, logs and Flower's own files; ``nodes`` is the number
    of partitions. ``keys`` is the file that says which node's key holds which partition.
    """

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.nodes = folder, nodes
        self.keys = folder / "node-keys"
        self.port = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            **os.environ,
            "FLWR_HOME": str(folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            # else the SuperLink would fetch the app's dependencies from the net
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "OMP_NUM_THREADS": "1",
            # `run` yields lines as they come: into a pipe Python would hold them until the end
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }

    def __enter__(self) -> Deployment:
        (self.folder / "flwr").mkdir(parents=True)
        make_certificates(self.folder)
        for node in range(self.nodes):
            make_node_key(self.folder, f"node{node}")
        publics = [(self.folder / f"node{node}.pub").read_text() for node in range(self.nodes)]
        self.keys.write_text("".join(f"{node} {key}" for node, key in enumerate(publics)))
        for name in (_CONTROL, _TASKS):
            make_secret(self.folder, name)
        address = f"127.0.0.1:{self.port}"
        store = FileCredentialStore(self.folder / "flwr" / "credentials.yaml")
        key = (self.folder / _CONTROL).read_bytes()
        # the command flwr bears a token where it believes to have logged in; it never refreshes it
        for form, value in (
            (AUTHN_TYPE_STORE_KEY, AuthnType.OIDC.encode()),
            (ACCESS_TOKEN_STORE_KEY, key),
            (REFRESH_TOKEN_STORE_KEY, b"none"),
        ):
            store.set(form % address, value)
        (self.folder / "flwr" / "config.toml").write_text(
            f"[superlink]\ndefault = {_CONNECTION!r}\n\n[superlink.{_CONNECTION}]\n"
            f'address = "{address}"\n'
            f'root-certificates = "{self.folder / "ca.crt"}"\n'
        )
        try:
            self._start_superlink()
            for node in range(self.nodes):
                self.flwr("supernode", "register", str(self.folder / f"node{node}.pub"))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start_superlink(self) -> None:
        self._start(
            "superlink",
            *(sys.executable, "-m", "docs.flower.superlink", str(self.folder / _CONTROL)),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--ssl-certfile", str(self.folder / "server.pem")),
            *("--ssl-keyfile", str(self.folder / "server.key")),
            *("--ssl-ca-certfile", str(self.folder / "ca.crt")),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
            # else whoever has the CA's certificate could take the ServerApp's task over
            *("--isolation", "process", "--superexec-auth-secret-file", str(self.folder / _TASKS)),
        )
        end = time.monotonic() + _PATIENCE
        while not _listening(self.port):
            if self._processes["superlink"].poll() is not None or time.monotonic() > end:
                raise FedcoreError(f"the SuperLink does not listen: {self.log('superlink')[-500:]}")
            time.sleep(0.2)
        self._start(
            "superexec",
            "flower-superexec",
            *("--runtime-api-address", f"127.0.0.1:{self.port}"),
            *("--root-certificates", str(self.folder / "ca.crt")),
            *("--superexec-auth-secret-file", str(self.folder / _TASKS)),
        )

    def start_node(
        self, node: int, key: str | None = None, demands: str = ""
    ) -> subprocess.Popen[bytes]:
        """Start the SuperNode of partition ``node``, with the key called ``key`` or its own.

        ``demands`` are what `fedcore.flower.consent` reads, in the form of a node config.
        """
        name = key or f"node{node}"
        return self._start(
            name,
            "flower-supernode",
            *("--superlink", f"127.0.0.1:{self.port}"),
            *("--host", "127.0.0.1", "--port", str(free_port())),
            *("--root-certificates", str(self.folder / "ca.crt")),
            *("--auth-supernode-private-key", str(self.folder / name)),
            *(
                "--node-config",
                f"partition-id={node} num-partitions={self.nodes} {demands}".strip(),
            ),
        )

    def kill_node(self, node: int) -> None:
        """End a SuperNode, and what it has started, without a chance to say goodbye."""
        _end(self._processes.pop(f"node{node}"), signal.SIGKILL)

    def stop_node(self, node: int) -> None:
        """End a SuperNode in order: it takes its leave, so that nobody waits for its replies."""
        _end(self._processes.pop(f"node{node}"), signal.SIGTERM)

    def log(self, name: str) -> str:
        """What the process called ``name`` has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def run(self, config: Mapping[str, object]) -> Iterator[str]:
        """`flwr run` of this checkout with run-config ``config``; yields the lines it prints.

        Raises FedcoreError where it fails.
        """
        words = " ".join(f"{key}={_toml(value)}" for key, value in config.items())
        command = ("flwr", "run", str(ROOT), _CONNECTION, "--run-config", words, "--stream")
        process = subprocess.Popen(
            command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            yield from (line.rstrip("\n") for line in process.stdout)
            if process.wait() != 0:
                raise FedcoreError(f"flwr run ended with status {process.returncode}")
        finally:
            _end(process, signal.SIGKILL)
            process.stdout.close()

    def flwr(self, *arguments: str) -> str:
        """A command of the flwr command line on this deployment; what it prints."""
        done = subprocess.run(
            ("flwr", *arguments, _CONNECTION),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise FedcoreError(f"flwr {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """End every process: SuperNodes first, so that none waits for the SuperLink."""
        for name in sorted(self._processes, key=lambda name: name == "superlink"):
            _end(self._processes.pop(name), signal.SIGTERM)

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                (sys.executable, "-c", _TIED, str(os.getpid()), *command),
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        self._processes[name] = process
        return process


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str], how: signal.Signals) -> None:
    """End ``process`` and its children: they are a process group of their own."""
    for sign in (how, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
