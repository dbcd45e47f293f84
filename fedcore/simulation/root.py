"""The root update of a round: split from the cohort, and held to what it must be trained on."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from fedcore.errors import IdentityError
from fedcore.exchange.cohort import Cohort
from fedcore.exchange.evidence import FIELDS
from fedcore.exchange.fingerprints import content, labelled, signed, total
from fedcore.federation.federation import Federation
from fedcore.federation.root import Root


def split(cohort: Cohort | None, federation: Federation) -> Cohort | None:
    """``cohort`` without the server's own row, which becomes its ``root``; itself without one.

    Raises IdentityError where that row is missing, is 0, is a client's, or was trained on anything
    but the root set.
    """
    root = federation.root
    if cohort is None or root is None:
        return cohort
    if not cohort.clients or cohort.clients[-1] != root.client:
        raise IdentityError(
            f"strategy {federation.scenario.strategy!r} has the server train on "
            f"{len(root.samples)} root samples, but no such update came: the engine left it out"
        )
    own = cohort.updates[-1]
    clients = dataclasses.replace(
        cohort,
        **{
            name: getattr(cohort, name)[:-1]
            for name in ("clients", "updates", "counters", "samples", "steps", "normalizers")
        },
        noted=None if cohort.noted is None else cohort.noted[:-1],
        root=own,
    )
    if (problem := _problem(clients, own)) is None and cohort.noted is not None:
        noted = dict(zip(FIELDS, cohort.noted[-1].tolist(), strict=True))
        problem = _trained_otherwise(noted, root, int(federation.epochs[root.client]))
    if problem is not None:
        raise IdentityError(f"the root update {problem}; it is not the server's own")
    return clients


def _problem(clients: Cohort, root: torch.Tensor) -> str | None:
    """What is wrong with ``root`` beside the updates of ``clients``, as a message; or None."""
    if not bool(root.any()):
        return "is 0: the server trained nothing"
    for client, row in zip(clients.clients, clients.updates, strict=True):
        if torch.equal(row, root):
            return f"is that of client {client}"
    return None


def _trained_otherwise(noted: dict[str, int], root: Root, epochs: int) -> str | None:
    """Where what was ``noted`` of the server's training is not the root set, ``epochs`` times."""
    size = epochs * len(root.samples)
    if noted["images"] != size or noted["copies"] != size or noted["strangers"]:
        own = noted["copies"]
        return f"was trained on {own} root samples of {noted['images']} images instead of {size}"
    hashes = np.tile(content(root.images), epochs)
    pairs = labelled(hashes, np.tile(root.labels, epochs))
    if (noted["samples"], noted["labels"]) != (signed(total(hashes)), signed(total(pairs))):
        return "was trained on other images or labels than those of the root set"
    return None
