"""SuperLink and SuperNodes as processes over TLS; the demonstration checks itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

from flwr.common.constant import ACCESS_TOKEN_KEY

from docs.flower import demo, doors
from docs.flower.deployment import Deployment
from docs.flower.doors import open_doors
from docs.flower.keys import make_secret
from docs.flower.superlink import KeyPlugin, read_key
from fedcore import run
from fedcore.privacy.noise import SecureNoise
from fedcore.records.record import Exclusion, Record

KILLED = """
import pathlib, sys, time
from docs.flower.deployment import Deployment
deployment = Deployment(pathlib.Path(sys.argv[1]), 1)
deployment.folder.mkdir()
print(deployment._start("sleeper", "sleep", "600").pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a service of Linux's kernel")
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """However that ends: a session that is killed must not leave a SuperLink behind."""
    root = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path / "deployment")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert process.stdout is not None
    sleeper = int(process.stdout.readline())
    end = time.monotonic() + 30
    while Path(f"/proc/{sleeper}/comm").read_text() != "sleep\n":  # it is python first
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 30
    while _runs(sleeper):
        assert time.monotonic() < end, "it outlived its parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_lines_of_a_run_come_when_they_are_printed(tmp_path: Path, monkeypatch) -> None:
    """Else what is to happen after round 1 happens after the last."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    flwr = tmp_path / "flwr"
    flwr.write_text(
        f"#!{sys.executable}\nimport time\nprint('1/2')\ntime.sleep(20)\n", encoding="utf-8"
    )
    flwr.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    deployment = Deployment(tmp_path / "deployment", 1)
    deployment._environment["PATH"] = os.environ["PATH"]
    started, lines = time.monotonic(), deployment.run({})
    try:
        assert next(lines) == "1/2"
        assert time.monotonic() - started < 15
    finally:
        lines.close()


@pytest.fixture(scope="module")
def undisturbed() -> Record:
    return run(demo.SCENARIO.but(rounds=4), device="cpu")


@pytest.mark.parametrize(
    ("killed", "late", "survived", "joined"),
    [
        ((2, 3, 4), (1, 2), True, True),
        ((4,), (1, 2, 3), True, True),  # a loaded machine: seen late, come late
        ((), (1,), False, True),  # it was not killed
        ((2, 4), (1,), False, True),  # it came back
        ((1, 2, 3, 4), (1,), False, True),  # it was never there
        ((2, 3, 4), (1, 2, 3, 4), True, False),
        ((2, 3, 4), (), True, False),  # it was not late
    ],
)
def test_which_rounds_may_go_without_a_node(
    undisturbed: Record,
    killed: tuple[int, ...],
    late: tuple[int, ...],
    survived: bool,
    joined: bool,
) -> None:
    """Seconds do not decide: what counts is that one went for good and one came."""
    excluded = [Exclusion(r, demo.KILLED, "no reply in time") for r in killed]
    excluded += [Exclusion(r, demo.LATE, "no node is connected for it") for r in late]
    audit = replace(undisturbed.audit, excluded=tuple(excluded))
    found = demo.findings_of(replace(undisturbed, audit=audit))
    assert list(found.values()) == [survived, joined]


def test_the_impostor_must_be_named(undisturbed: Record) -> None:
    note = "SuperNode 7 was left out: it claims partition 3 of 4, and its key SHA256:x is not among"
    for text, named in ((f"{note} node-keys", True), (note, False)):
        audit = replace(undisturbed.audit, notes=(text,))
        assert demo.names_impostor(replace(undisturbed, audit=audit)) is named
    assert not demo.names_impostor(undisturbed)


@pytest.mark.parametrize("route", ["/v1/control/start-run", "/v1/runtime/acquire-task"])
def test_a_door_that_is_open_is_found(route: str) -> None:
    """422, say: the request was read, by somebody who asked for no key."""
    shut = {"/v1/control/start-run": 401, "/v1/runtime/acquire-task": 401, "/health": 200}
    assert open_doors(shut) == {}
    assert open_doors({**shut, route: 422}) == {route: 422}


def test_the_key_of_the_control_api(tmp_path: Path) -> None:
    make_secret(tmp_path, "key")
    key = read_key(tmp_path / "key")
    assert len(bytes.fromhex(key)) == 32
    plugin = KeyPlugin(key)
    allowed, account = plugin.validate_tokens_in_metadata([(ACCESS_TOKEN_KEY, key)])
    assert allowed
    assert account is not None
    for token in (key[:-1], "", "é", b"\xff", key.upper() + " "):
        assert plugin.validate_tokens_in_metadata([(ACCESS_TOKEN_KEY, token)]) == (False, None)
    assert plugin.validate_tokens_in_metadata([]) == (False, None)
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(SystemExit, match="has mode 640"):
        read_key(tmp_path / "key")
    (tmp_path / "short").touch(mode=0o600)
    with pytest.raises(SystemExit, match="32 random bytes in hexadecimal, got 0 digits"):
        read_key(tmp_path / "short")


@pytest.mark.slow
def test_the_certificate_alone_opens_no_door(capsys: pytest.CaptureFixture[str]) -> None:
    assert doors.main() == 0
    assert " 0 open" in capsys.readouterr().out


@pytest.mark.slow
def test_demo(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # as for most users
    assert demo.main(["--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" yes  ") == 6, printed


@pytest.mark.slow
def test_clients_of_a_deployment_draw_from_the_system_and_may_refuse(tmp_path) -> None:
    """Two SuperNodes: noise that the seed does not give; then one that demands privacy."""
    scenario = demo.SCENARIO.but(
        num_clients=2, rounds=1, attack=None, privacy="localdp", epsilon=50.0, norm="none"
    )
    with Deployment(tmp_path / "deployment", 2) as deployment:
        for node in range(2):
            deployment.start_node(node)
        record = demo.whole(deployment, scenario)
        deployment.stop_node(1)
        deployment.start_node(1, demands="privacy='localdp'")
        bare = demo.whole(deployment, scenario.but(privacy=None), strict=False)
    plain = run(scenario, device="cpu")
    assert record.model_digest != plain.model_digest
    assert record.audit.privacy.generator == SecureNoise.description
    assert record.audit.privacy.epsilons == plain.audit.privacy.epsilons
    assert [e.client for e in bare.audit.excluded] == [1]
    assert "demands privacy='localdp', the task has None" in bare.audit.excluded[0].reason
