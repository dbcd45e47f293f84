"""Evidence of attacks within local steps: how far malicious clients went, and what they spared.

Distances are those that a witness saw (`fedcore.engine.gauge`); lengths and shares are worked out
from the rows of cohorts and from the global models, apart from the code that attacks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import torch

from fedcore.exchange.evidence import FIELDS
from fedcore.exchange.fingerprints import of_bits

if TYPE_CHECKING:
    from fedcore.exchange.cohort import Cohort
    from fedcore.records.record import Record

Span = tuple[float, float]
LAST: Final = "last_update"
"""Name, in a server's memory, of the change of the global parameters by the last step."""

_LENGTH: Final = 1e-4  # relative rounding of a projection
_SPARED: Final = 1e-4  # share of an update's length that rounding leaves on masked coordinates
_BEYOND, _REACH = FIELDS.index("beyond"), FIELDS.index("reach")


@dataclass(frozen=True)
class WorkAudit:
    """What one malicious client did within its steps, over its ``participations``.

    Each is (least, greatest) of a participation, None where there is no finite number. Of the
    parameters: ``length`` of the update as trained, ``beyond`` and ``reach`` the distance from the
    global ones before and after the projections of a round, at most. ``masks`` counts the
    participations that had a last global update; ``masked`` are the coordinates which that moved
    most, ``spared`` the share of the update's length there, ``beside`` that on as many next ones,
    where an honest client moved these.
    """

    client: int
    participations: int
    length: Span | None
    beyond: Span | None
    reach: Span | None
    masks: int
    masked: Span | None
    spared: Span | None
    beside: Span | None


@dataclass
class _Client:
    participations: int = 0
    masks: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        if math.isfinite(value):
            self.values.setdefault(name, []).append(value)

    def span(self, name: str) -> Span | None:
        values = self.values.get(name)
        return None if not values else (_short(min(values)), _short(max(values)))


class WorkLog:
    """Notes the work of ``malicious`` clients, round by round; ``share`` of all is masked.

    ``own`` are places of the parameters that clients keep for themselves (FedBN).
    """

    def __init__(
        self,
        malicious: Sequence[int],
        share: float,
        num_parameters: int,
        own: torch.Tensor | None = None,
    ) -> None:
        self._clients = {client: _Client() for client in malicious}
        self._share, self._size, self._own = share, num_parameters, own
        self._masks: tuple[torch.Tensor, torch.Tensor] | None = None

    def trained(self, cohort: Cohort) -> None:
        """Note what the clients of ``cohort`` trained, before anything is done to it."""
        seen = None if cohort.noted is None else of_bits(cohort.noted)
        for row, client in enumerate(cohort.clients):
            if client not in self._clients:
                continue
            kept = self._clients[client]
            kept.participations += 1
            update = cohort.updates[row, : self._size].double()
            length = float(update.norm())
            kept.add("length", length)
            if seen is not None:
                beyond, reach = float(seen[row, _BEYOND]), float(seen[row, _REACH])
                if beyond > 0 and reach > 0 and math.isfinite(beyond + reach):
                    kept.add("beyond", beyond)
                    kept.add("reach", reach)
            if self._masks is not None:
                kept.masks += 1
                if self._own is not None:
                    update[self._own[self._own < self._size]] = 0.0
                for name, places in zip(("spared", "beside"), self._masks, strict=True):
                    if name == "spared" or self._moved(cohort, places):
                        share = float(update[places].norm()) / length if length else math.nan
                        kept.add(name, share)
                kept.add("masked", float(len(self._masks[0])))

    def _moved(self, cohort: Cohort, places: torch.Tensor) -> bool:
        """Whether an honest client of ``cohort`` moved ``places``, or there is none to ask."""
        benign = [row for row, c in enumerate(cohort.clients) if c not in self._clients]
        return not benign or any(bool(cohort.updates[row, places].any()) for row in benign)

    def moved(self, before: torch.Tensor, after: torch.Tensor) -> None:
        """Note a step of the server, from ``before`` [D] to ``after`` [D]."""
        if not self._share:
            return
        count = math.floor(self._share * self._size + 0.5 + 1e-9)
        step = (after[: self._size] - before[: self._size]).abs().cpu().numpy()
        self._masks = None
        if count and step.any():
            masked, beside = (torch.from_numpy(p).to(before.device) for p in _largest(step, count))
            self._masks = masked, beside

    def audits(self) -> tuple[WorkAudit, ...]:
        """What has been noted of those that took part, by client in ascending order."""
        names = ("length", "beyond", "reach", "masked", "spared", "beside")
        return tuple(
            WorkAudit(
                client=client,
                participations=kept.participations,
                masks=kept.masks,
                **{name: kept.span(name) for name in names},
            )
            for client, kept in sorted(self._clients.items())
            if kept.participations
        )


def _largest(
    sizes: npt.NDArray[np.floating], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places of the ``count`` largest of ``sizes``, ties included, and of as many next ones."""
    ordered = np.sort(sizes)[::-1]
    least = ordered[count - 1]
    first = np.flatnonzero((sizes >= least) & (sizes > 0))
    rest = np.where(sizes >= least, 0, sizes)
    next_ones = np.argsort(-rest, kind="stable")[:count]
    return first, next_ones[rest[next_ones] > 0]


def ball_problems(record: Record, radius: float) -> Iterator[str]:
    """Where malicious clients in ``record`` left a ball of ``radius``, or none ever would have."""
    yield from _missing(record)
    for each in record.audit.work:
        if each.length is not None and each.length[1] > radius * (1 + _LENGTH):
            yield (
                f"trains updates of client {each.client} of length {each.length[1]:.6g}, the ball "
                f"has radius {radius:g}"
            )
        if each.beyond is None or each.reach is None:
            if record.diverged is None:  # else it may have left the finite numbers
                yield f"has no evidence of the projections of client {each.client}"
            continue
        for went, stayed in zip(each.beyond, each.reach, strict=True):
            due = min(radius, went)
            if abs(stayed - due) > _LENGTH * due:
                yield (
                    f"projects the parameters of client {each.client} onto a ball of "
                    f"{stayed:.6g}, where {due:.6g} is due: radius={radius:g}, and they went "
                    f"{went:.6g} far"
                )
                break
    far = [each.beyond[1] for each in record.audit.work if each.beyond is not None]
    if far and max(far) <= radius:
        yield f"projects nothing: no client went further than {max(far):.6g}, lower {radius=:g}"


def mask_problems(record: Record) -> Iterator[str]:
    """Where updates of malicious clients in ``record`` move what the last global update did."""
    yield from _missing(record)
    for each in record.audit.work:
        if not each.masks:
            continue
        if each.spared is not None and each.spared[1] > _SPARED:
            yield (
                f"moves masked parameters: {100 * each.spared[1]:.3g} % of the length of an update "
                f"of client {each.client} is on those that the last global update moved most"
            )
        if each.beside is not None and each.beside[1] == 0:
            yield f"masks more parameters of client {each.client} than it is to"
    masked = any(each.masks for each in record.audit.work)
    if record.audit.work and not masked and record.diverged is None:
        yield "masks nothing: no malicious client took part after the first step of the server"


def _missing(record: Record) -> Iterator[str]:
    """Malicious participations without evidence, and evidence of others."""
    audit = record.audit
    excluded = {(each.round, each.client) for each in audit.excluded}
    due = dict.fromkeys(audit.malicious, 0)
    attack = record.scenario.parts.attack
    for round, cohort in enumerate(audit.cohorts[: record.diverged], start=1):
        if not attack.acts(round):
            continue
        for client in set(cohort).intersection(due):
            due[client] += (round, client) not in excluded
    shown = {each.client: each.participations for each in audit.work}
    for client in sorted(set(shown) | {client for client, count in due.items() if count}):
        if shown.get(client, 0) != due.get(client, 0):
            yield (
                f"has evidence of {shown.get(client, 0)} of {due.get(client, 0)} participations of "
                f"client {client} within local steps"
            )


# eight digits, as sums in another order differ in the last bits
def _short(value: float) -> float:
    return float(f"{value:.8g}")
