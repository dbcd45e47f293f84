"""Releases as Flower sends them: what a mechanism lets out of a client, and nothing beside it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
from flwr.app import Array, ArrayRecord

from fedcore.errors import FedcoreError
from fedcore.exchange.cohort import Cohort, ServerState
from fedcore.exchange.layout import Layout
from fedcore.flower.arrays import ArraysError, read
from fedcore.privacy.release import Release

GENERATOR = "privacy-noise"
"""Key of a node's own config: system or seeded."""


def to_release(release: Release, sent: Cohort) -> ArrayRecord:
    """The one row of ``sent``: "release" [dimension], and "counters" [I] where these are in clear.

    Updates, not models: a model would be rounded anew at the server, and hold what stays here.
    """
    (row,) = release.take(sent.updates).cpu().numpy()
    arrays = {"release": Array(row)}
    if release.buffers:
        arrays["counters"] = Array(sent.counters[0].cpu().numpy())
    return ArrayRecord(arrays)


def from_release(
    release: Release, layout: Layout, arrays: ArrayRecord, state: ServerState
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(update [D], counters [I])`` of a client: zeros, and the server's, for what is not sent.

    Raises ArraysError for missing, extra, unreadable, wrongly shaped or not finite arrays.
    """
    expected = {"release", "counters"} if release.buffers else {"release"}
    if set(arrays) != expected:
        odd = sorted(map(str, set(arrays) ^ expected))
        raise ArraysError(f"arrays of a private reply missing or unknown: {', '.join(odd[:5])}")
    row = read("release", arrays["release"], (release.dimension,), state.vector.dtype)
    update = release.put(row[None].to(state.vector), state.vector[None], state.vector)[0]
    counters = state.counters
    if release.buffers:
        sent = read("counters", arrays["counters"], (layout.num_counters,), torch.int64)
        counters = sent.to(state.counters.device)
    return update, counters


def draws_secretly(config: Mapping[str, object]) -> bool:
    """Whether a node with ``config`` draws noise from the operating system's generator.

    The node's own config decides, never what a server sends: ``privacy-noise`` is system or
    seeded. Where it says nothing, a node draws from the operating system, but for those of
    Flower's simulation, which are actors of Ray: they draw from the run's seed, so that the run
    repeats. Whoever knows the seed knows the noise. Raises FedcoreError for other values.
    """
    chosen = config.get(GENERATOR)
    if chosen is None:
        return not _is_actor()
    if chosen not in ("system", "seeded"):
        raise FedcoreError(
            f"a node's {GENERATOR} must be system or seeded (for simulations), got {chosen!r}"
        )
    return chosen == "system"


def _is_actor() -> bool:
    """Whether this process is an actor of Ray; one of these has imported ray."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    return ray.get_runtime_context().get_actor_id() is not None
