"""Who holds which partition: keys, first claims, other numbers, nodes that say nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.superlink.grid import HttpGrid

from fedcore.errors import FedcoreError
from fedcore.flower.client_app import app, who
from fedcore.flower.local import LocalGrid, quiet
from fedcore.flower.node_keys import fingerprint, read_keys
from fedcore.flower.nodes import Nodes
from fedcore.flower.server_app import nodes_of, run_on
from fedcore.flower.task import Task
from fedcore.scenario import Scenario
from fedcore.simulation.runner import run

CLIENTS = 6
quiet()


def keypair() -> tuple[bytes, str]:
    """A public key in PEM, as the SuperLink keeps it, and in OpenSSH's form."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    ssh = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return pem, ssh.decode()


@dataclass
class Info:
    node_id: int
    public_key: bytes


class Keyed(LocalGrid):
    """Nodes with keys; ``claims`` are what some say instead of their own partition."""

    def __init__(self, keys: list[bytes], claims: dict[int, dict[str, int]] | None = None) -> None:
        super().__init__(app, len(keys))
        self.keys = dict(zip(self.contexts, keys, strict=True))
        for position, claim in (claims or {}).items():
            self.contexts[list(self.contexts)[position]].node_config.update(claim)

    def get_nodes(self) -> Iterable[Info]:
        return [Info(node, key) for node, key in self.keys.items()]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[bytes, str]]:
    return [keypair() for _ in range(CLIENTS + 1)]


@pytest.fixture
def keys(pairs: list[tuple[bytes, str]], tmp_path: Path) -> dict[str, int]:
    """The file for the first six keys, read back."""
    lines = [f"{place} {ssh} node{place}" for place, (_, ssh) in enumerate(pairs[:CLIENTS])]
    (tmp_path / "keys").write_text("# nodes\n\n" + "\n".join(lines))
    return read_keys(tmp_path / "keys")


def test_a_fingerprint_is_of_the_key_and_not_of_its_form(pairs: Any, keys: dict[str, int]) -> None:
    for place, (pem, ssh) in enumerate(pairs[:CLIENTS]):
        assert fingerprint(pem) == fingerprint(ssh.encode())
        assert keys[fingerprint(pem)] == place
    with pytest.raises(ValueError, match="no public key"):
        fingerprint(b"ssh-rsa AAAA")


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        ({"partition-id": 2}, "it claims partition 2 of 6, and its key SHA256:.* is that of part"),
        ({"num-partitions": 2, "partition-id": 0}, "its key SHA256:.* is that of partition 5"),
        ({"num-partitions": 7}, "it claims partition 5 of 7, and this run has 6 partitions"),
        ({"partition-id": 99}, r"a SuperNode needs partition-id in \[0, num-partitions\), got 99"),
    ],
)
def test_a_false_claim_of_a_registered_node(
    pairs: Any, keys: dict[str, int], claim: dict[str, int], reason: str
) -> None:
    """It comes first, by its id, and by its word holds what others hold: it is left out alone."""
    grid = Keyed([pem for pem, _ in pairs[:CLIENTS]], {5: claim})
    nodes = Nodes(CLIENTS, keys=keys)
    nodes.refresh(grid)
    ids = list(grid.contexts)
    assert [nodes.node_of(client) for client in range(CLIENTS)] == [*ids[:5], None]
    (text,) = nodes.remarks
    assert text.startswith(f"SuperNode {ids[5]} was left out: ")
    assert re.search(reason, text), text


def test_a_key_that_is_not_in_the_file(pairs: Any, keys: dict[str, int]) -> None:
    stranger = [pairs[CLIENTS][0], *(pem for pem, _ in pairs[1:CLIENTS])]
    nodes = Nodes(CLIENTS, keys=keys)
    nodes.refresh(Keyed(stranger))
    assert nodes.node_of(0) is None
    assert nodes.node_of(1) is not None
    assert "is not among node-keys" in nodes.remarks[0]


def test_without_keys_the_first_claim_lasts_for_the_run() -> None:
    grid = LocalGrid(app, CLIENTS)
    first, second, *_ = grid.contexts
    late = grid.contexts.pop(second)
    nodes = Nodes(CLIENTS, partitions=CLIENTS)
    nodes.refresh(grid)
    late.node_config["partition-id"] = 0
    grid.contexts[second] = late
    nodes.refresh(grid)
    assert nodes.node_of(0) == first
    assert f"which SuperNode {first} holds in this run" in nodes.refused[second]
    gone = grid.contexts.pop(first)
    nodes.refresh(grid)
    assert nodes.node_of(0) is None, "nobody inherits a partition"
    grid.contexts[first] = gone
    nodes.refresh(grid)
    assert nodes.node_of(0) == first


def test_a_node_that_changes_its_mind() -> None:
    grid = LocalGrid(app, CLIENTS)
    first, *_, last = grid.contexts
    gone = grid.contexts.pop(last)
    nodes = Nodes(CLIENTS, partitions=CLIENTS)
    nodes.refresh(grid)
    kept = grid.contexts.pop(first)
    nodes.refresh(grid)
    kept.node_config["partition-id"] = 5
    grid.contexts[first] = kept
    nodes.refresh(grid)
    assert nodes.refused[first] == "it claims partition 5 of 6, and holds partition 0 in this run"
    grid.contexts[last] = gone
    nodes.refresh(grid)
    assert nodes.node_of(5) == last


def test_a_node_that_claims_everything() -> None:
    """One of one holds all clients by its word; a deployment has one partition a client."""
    grid = LocalGrid(app, CLIENTS)
    first = next(iter(grid.contexts))
    grid.contexts[first].node_config["num-partitions"] = 1
    nodes = Nodes(CLIENTS, partitions=CLIENTS)
    nodes.refresh(grid)
    assert [nodes.node_of(c) is None for c in range(CLIENTS)] == [True] + [False] * 5
    assert "this run has 6 partitions: start it with num-partitions=6" in nodes.refused[first]


def test_the_honest_ones_go_on(tiny: Scenario, pairs: Any, keys: dict[str, int]) -> None:
    """The record of a run names the node that was left out, and all others trained."""
    grid = Keyed([pem for pem, _ in pairs[:CLIENTS]], {0: {"num-partitions": 1}})
    nodes = Nodes(CLIENTS, keys=keys)
    how: dict[str, Any] = {"min_clients": 5, "wait": 0, "timeout": None, "strict": False}
    record = run_on(grid, Task(tiny, 0), nodes=nodes, **how)
    assert {each.client for each in record.audit.excluded} == {0}
    (note,) = (text for text in record.audit.notes if "SuperNode" in text)
    assert "it claims partition 0 of 1, and this run has 6 partitions" in note
    whole = run_on(Keyed([pem for pem, _ in pairs[:CLIENTS]]), Task(tiny, 0),
                   nodes=Nodes(CLIENTS, keys=keys), **{**how, "min_clients": 6})  # fmt: skip
    plain = run(tiny, device="cpu", engine="sequential")
    assert (whole.model_digest, whole.audit) == (plain.model_digest, plain.audit)


def test_a_node_that_never_answers() -> None:
    class Deaf(LocalGrid):
        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> list[Message]:
            heard = super().send_and_receive(messages, timeout=timeout)
            return [reply for reply in heard if reply.metadata.src_node_id != 2]

    grid, nodes = Deaf(app, 3), Nodes(3, partitions=3)
    for _ in range(3):
        assert nodes.refused == {}
        nodes.refresh(grid)
    assert nodes.refused == {2: "it left 3 questions unanswered"}


@pytest.mark.parametrize("content", [{}, {"partition-id": [1, 2]}, {"partition-id": 0.5}])
def test_answers_that_name_no_partition(content: dict[str, Any]) -> None:
    odd = ClientApp()

    @odd.query()
    def answer(message: Message, context: Context) -> Message:
        if context.node_id != 2:
            return who(message, context)
        return Message(RecordDict({"m": MetricRecord(content)}), reply_to=message)

    nodes = Nodes(3, partitions=3)
    nodes.refresh(LocalGrid(odd, 3))
    assert list(nodes.refused) == [2]
    assert nodes.node_of(1) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must have one for each"),
        ("0\n", "line 1 of .* must be a partition and an OpenSSH public key"),
        ("x {0}\n", "line 1 of .* must be a partition"),
        ("0 ecdsa-sha2-nistp256 AAAA\n", "line 1 of .* has no public key"),
        ("0 {0}\n0 {1}\n", "line 2 of .* has partition 0 a second time"),
        ("0 {0}\n1 {0}\n", "line 2 of .* has its key a second time"),
        ("0 {0}\n2 {1}\n", r"keys for partitions \[0, 2\], must have one for each of 0 to 2"),
    ],
)
def test_files_of_keys_that_are_none(pairs: Any, tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text.format(pairs[0][1], pairs[1][1]))
    with pytest.raises(FedcoreError, match=problem):
        read_keys(path)


def test_a_file_of_keys_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FedcoreError, match=r"node-keys: .* cannot be read"):
        read_keys(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(FedcoreError, match=r"node-keys: .* cannot be read"):
        read_keys(tmp_path / "binary")


class Deployed(HttpGrid):  # type: ignore[misc]
    """The grid of a ServerApp behind a SuperLink, without one."""

    def __init__(self) -> None:
        pass


def test_the_run_config(pairs: Any, tmp_path: Path) -> None:
    local, deployed, path = LocalGrid(app, 3), Deployed(), tmp_path / "keys"
    config: dict[str, Any] = {"timeout": 0, "node-keys": "", "num-partitions": 0}
    assert nodes_of(local, config, 6).partitions is None
    assert nodes_of(deployed, config, 6).partitions == 6
    assert nodes_of(deployed, {**config, "num-partitions": 3}, 6).partitions == 3
    path.write_text(f"0 {pairs[0][1]}\n1 {pairs[1][1]}\n")
    config["node-keys"] = str(path)
    assert nodes_of(deployed, config, 6).partitions == 2
    with pytest.raises(FedcoreError, match=r"num-partitions=3, but .* has the keys of 2 part"):
        nodes_of(deployed, {**config, "num-partitions": 3}, 6)
    with pytest.raises(FedcoreError, match=r"must be an integer >= 0, got -1"):
        nodes_of(deployed, {**config, "num-partitions": -1}, 6)
    with pytest.raises(FedcoreError, match="the nodes of a simulation have no keys"):
        nodes_of(local, config, 6)
