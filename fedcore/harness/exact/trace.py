"""Trace: the numbers of a run that another run of the same code on the same machine repeats."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fedcore.records.record import Record, tail_mean

#: Correct test images of a round; a float is a share that is no whole number of images (chance).
Count = int | float


@dataclass(frozen=True)
class Trace:
    """What one run scored in each evaluated round (``rounds``, from 1), and its final model.

    ``tested`` is the number of test images, ``correct`` how many of them were right, ``loss`` the
    mean cross-entropy (None where the model has diverged), ``asr`` the attack success rate in
    [0, 1] where there is one, ``diverged`` the round in which the model left the finite numbers.
    """

    tested: int
    rounds: tuple[int, ...]
    correct: tuple[Count, ...]
    loss: tuple[float | None, ...]
    asr: tuple[float, ...] | None
    diverged: int | None
    model: str | None

    @classmethod
    def of(cls, record: Record, tested: int) -> Trace:
        """The trace of ``record``, whose test set has ``tested`` images."""
        return cls(
            tested,
            record.rounds,
            tuple(_count(share, tested) for share in record.accuracy),
            record.loss,
            record.asr,
            record.diverged,
            record.model_digest,
        )

    @property
    def tail(self) -> float:
        """Mean accuracy over the last 30 % of the evaluated rounds, in percent."""
        return 100 * tail_mean(self.shares)

    @property
    def shares(self) -> tuple[float, ...]:
        """The accuracy in each evaluated round, in [0, 1]."""
        return tuple(_share(self, i) for i in range(len(self.correct)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON takes them; what is absent or goes without saying is left out."""
        values: dict[str, Any] = {"tested": self.tested}
        if self.rounds != tuple(range(1, len(self.rounds) + 1)):
            values["rounds"] = list(self.rounds)
        values |= {"correct": list(self.correct), "loss": list(self.loss)}
        if self.asr is not None:
            values["asr"] = list(self.asr)
        optional = {"diverged": self.diverged, "model": self.model}
        return values | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trace:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for other content."""
        tested = int(values["tested"])
        correct = tuple(_checked(value, tested) for value in values["correct"])
        rounds = tuple(int(r) for r in values.get("rounds", range(1, len(correct) + 1)))
        loss = tuple(None if v is None else float(_number(v)) for v in values["loss"])
        asr = values.get("asr")
        found = None if asr is None else tuple(_checked(float(_number(v)), tested) for v in asr)
        if not len(rounds) == len(correct) == len(loss) or (found and len(found) != len(rounds)):
            raise ValueError(
                f"a trace has one value for each round, got {len(rounds)} rounds, "
                f"{len(correct)} counts and {len(loss)} losses"
            )
        return cls(
            tested, rounds, correct, loss, found, values.get("diverged"),
            values.get("model"),
        )  # fmt: skip

    def without_model(self) -> Trace:
        """This trace without the digest of its model, which other machines do not repeat."""
        return Trace(
            self.tested, self.rounds, self.correct, self.loss, self.asr, self.diverged, None
        )


@dataclass(frozen=True)
class Divergence:
    """Where two traces part: the first differing ``round`` and what it scored in each.

    ``round`` is None where every score is equal and only the final models differ, or where the
    runs were scored in other rounds or on other numbers of images. ``text`` says what and by how
    much.
    """

    round: int | None
    text: str


def divergence(
    before: Trace, now: Trace, loss_equal: Callable[[float, float], bool] | None = None
) -> Divergence | None:
    """The first round in which ``now`` differs from ``before``, None where nothing differs.

    ``loss_equal`` says whether two losses count as equal; None compares bits.
    """
    equal = loss_equal or (lambda a, b: a == b)
    if before.tested != now.tested:
        return Divergence(None, f"test images {before.tested} -> {now.tested}")
    for i, (old, new) in enumerate(zip(before.rounds, now.rounds, strict=False)):
        if old != new:
            return Divergence(None, f"evaluated round {old} -> {new}")
        parts = _round(before, now, i, equal)
        if parts:
            return Divergence(old, f"first in round {old}: {', '.join(parts)}")
    if len(before.rounds) != len(now.rounds):
        counts = f"evaluated rounds {len(before.rounds)} -> {len(now.rounds)}"
        return Divergence(None, counts)
    if before.diverged != now.diverged:
        return Divergence(None, f"diverged in round {before.diverged} -> {now.diverged}")
    if before.model != now.model and None not in (before.model, now.model):
        return Divergence(
            None, f"the final models differ ({before.model} -> {now.model}), and no score does"
        )
    return None


def absolute_or_relative(tolerance: float) -> Callable[[float, float], bool]:
    """Whether losses are within ``tolerance``: of 1 up to a loss of 1, of the loss above."""

    def equal(before: float, now: float) -> bool:
        return math.isclose(before, now, rel_tol=tolerance, abs_tol=tolerance)

    return equal


def _round(before: Trace, now: Trace, i: int, equal: Callable[[float, float], bool]) -> list[str]:
    """What differs in the evaluated round at place ``i``; the loss is told with the accuracy."""
    parts = []
    if before.correct[i] != now.correct[i]:
        gap = 100 * (_share(now, i) - _share(before, i))
        parts.append(
            f"{before.correct[i]} -> {now.correct[i]} of {before.tested} correct ({gap:+.2f} pp)"
        )
    old, new = before.loss[i], now.loss[i]
    same = old is new if old is None or new is None else equal(old, new)
    if not same or (parts and old != new):
        size = "" if old is None or new is None else f" ({new - old:+.2g})"
        parts.append(f"loss {_shown(old, new)}{size}")
    found = [None if trace.asr is None else trace.asr[i] for trace in (before, now)]
    if found[0] != found[1]:
        parts.append("ASR " + " -> ".join("-" if v is None else f"{100 * v:.2f} %" for v in found))
    return parts


def _shown(old: float | None, new: float | None) -> str:
    return " -> ".join("none" if value is None else f"{value:.9g}" for value in (old, new))


def _share(trace: Trace, i: int) -> float:
    value = trace.correct[i]
    return value / trace.tested if isinstance(value, int) else value


def _count(share: float, tested: int) -> Count:
    count = round(share * tested)
    return count if count / tested == share else share


def _checked(value: Any, tested: int) -> Count:
    """A count of at most ``tested`` images, or a share in [0, 1]."""
    count = _number(value)
    if not 0 <= count <= (tested if isinstance(count, int) else 1):
        raise ValueError(f"{count} is neither a number of {tested} images nor a share of them")
    return count


def _number(value: Any) -> Count:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value
