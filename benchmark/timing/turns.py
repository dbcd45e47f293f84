"""Turns: fedcore and its references measured one after the other; the references between them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from ..bare_loop import BareLoop, Setting

Seconds = Callable[[], float]


class Turns:
    """Seconds a round of ``ours`` and of each of ``references``, by name."""

    def __init__(self, ours: Seconds, references: dict[str, Seconds]) -> None:
        self._ours, self._references = ours, references
        self.ours: list[float] = []
        self.references: dict[str, list[float]] = {name: [] for name in references}

    def take(self, benchmark: Any, turns: int) -> None:
        """Measure, and have pytest-benchmark note how long ours took."""
        benchmark.pedantic(self._measure, setup=self._refer, rounds=turns)

    def take_more(self, turns: int) -> None:
        """Measure on: a verdict on a loaded machine is worth a second look."""
        for _ in range(turns):
            self._refer()
            self._measure()

    def _refer(self) -> None:
        for name, reference in self._references.items():
            self.references[name].append(reference())

    def _measure(self) -> None:
        self.ours.append(self._ours())

    def ratios(self, name: str) -> list[float]:
        """Ours to the reference ``name``, by turn."""
        return [mine / its for mine, its in zip(self.ours, self.references[name], strict=True)]

    def ratio(self, name: str) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios(name))

    def facts(self, examples_per_round: float) -> dict[str, Any]:
        """For benchmark.extra_info: seconds, rates, ratios, shares of each reference's speed."""
        seconds = statistics.median(self.ours)
        found: dict[str, Any] = {
            "fedcore_seconds": round(seconds, 4),
            "rounds_per_second": round(1 / seconds, 3),
            "examples_per_round": round(examples_per_round, 1),
            "examples_per_second": round(examples_per_round / seconds, 1),
        }
        for name, taken in self.references.items():
            found[f"{name}_seconds"] = round(statistics.median(taken), 4)
            found[f"ratio_to_{name}"] = round(self.ratio(name), 3)
            found[f"share_of_{name}"] = round(1 / self.ratio(name), 3)
            found[f"ratios_to_{name}"] = [round(ratio, 3) for ratio in self.ratios(name)]
        return found


class References:
    """The bare loop of the cases at hand; what the next case shares is not made anew."""

    def __init__(self) -> None:
        self._key: Any = None
        self._bare: BareLoop | None = None

    def loop(self, key: Any, setting: Callable[[], Setting], processes: int) -> BareLoop:
        """The loop called ``key``."""
        if self._bare is None or self._key != key:
            self.close()
            self._key, self._bare = key, BareLoop(setting(), processes)
        return self._bare

    @property
    def pids(self) -> tuple[int, ...]:
        """Its processes."""
        return () if self._bare is None else self._bare.pids

    def close(self) -> None:
        """End its processes."""
        if self._bare is not None:
            self._bare.close()
        self._bare = None
