"""Which public key may hold which partition: the file that the run config names as ``node-keys``.

A line for each SuperNode, the number of its partition and its public key as OpenSSH writes it::

    0 ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQ...
    1 ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQ...

The SuperLink holds each message of a node to the key that was registered for it, so that the node
id says whose key it is. What the node writes into its own config says nothing of that kind.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from flwr.serverapp import Grid

from fedcore.errors import FedcoreError
from fedcore.outside.files import read_text

_MOST = 1 << 20  # bytes of a file of keys: several thousand nodes


def fingerprint(key: bytes) -> str:
    """``SHA256:...`` of a public key in PEM or in OpenSSH's format, as ssh-keygen -l prints it.

    ValueError for bytes that are no public key.
    """
    ssh = not key.lstrip().startswith(b"-----BEGIN")
    try:
        load = serialization.load_ssh_public_key if ssh else serialization.load_pem_public_key
        public = load(key)
        text = public.public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"no public key: {error}") from error
    blob = base64.b64decode(text.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def read_keys(path: Path) -> dict[str, int]:
    """The partition of each fingerprint in the file ``path``: M keys for partitions 0 ... M - 1.

    FedcoreError for a file that cannot be read, a line of another form, a key or a partition that
    stands there twice, or a gap.
    """
    try:
        lines = read_text(path, _MOST).splitlines()
    except (OSError, ValueError) as error:
        raise FedcoreError(f"node-keys: {path} cannot be read: {error}") from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split(maxsplit=1)
        if not words:
            continue
        where = f"node-keys: line {number} of {path}"
        if len(words) != 2 or not words[0].isdecimal():
            raise FedcoreError(f"{where} must be a partition and an OpenSSH public key: {line!r}")
        try:
            key, partition = fingerprint(words[1].encode()), int(words[0])
        except ValueError as error:
            raise FedcoreError(f"{where} has {error}") from error
        if key in found or partition in found.values():
            twice = "its key" if key in found else f"partition {partition}"
            raise FedcoreError(f"{where} has {twice} a second time: one key holds one partition")
        found[key] = partition
    if sorted(found.values()) != list(range(len(found))) or not found:
        raise FedcoreError(
            f"node-keys: {path} has keys for partitions {sorted(found.values())}, must have one "
            f"for each of 0 to {max(found.values(), default=0)}"
        )
    return found


def keys_of(grid: Grid) -> Mapping[int, str]:
    """The fingerprint of the key that the SuperLink holds each connected node to, by node id."""
    found = {}
    for node in grid.get_nodes():
        with contextlib.suppress(ValueError):  # a node without a key matches none
            found[int(node.node_id)] = fingerprint(bytes(node.public_key))
    return found
