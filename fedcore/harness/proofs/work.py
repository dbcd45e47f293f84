"""How long each client of a run must have trained, drawn a second time."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedcore.harness.proofs import draws, poison

if TYPE_CHECKING:
    from fedcore.scenario import Scenario


class LocalWorks:
    """(epochs that are begun, steps) by client, of ``sizes`` samples."""

    def __init__(self, scenario: Scenario, seed: int, sizes: Sequence[int]) -> None:
        self.scenario, self.seed, self.sizes = scenario, seed, sizes
        self._drawn = draws.works(scenario, seed, sizes)

    @functools.cached_property
    def attacked(self) -> tuple[tuple[int, int], ...]:
        """With what an attack asks for."""
        malicious = draws.malicious(self.scenario, self.seed, self.sizes)
        return self._counted(poison.works(self.scenario, self._drawn, malicious))

    @functools.cached_property
    def honest(self) -> tuple[tuple[int, int], ...]:
        """Without an attack."""
        return self._counted(self._drawn)

    def of(self, round: int, client: int) -> tuple[int, int]:
        """Those of a client in a round."""
        works = self.attacked if poison.acts(self.scenario, round) else self.honest
        return works[client]

    def _counted(self, asked: Sequence[tuple[int, int | None]]) -> tuple[tuple[int, int], ...]:
        size = self.scenario.batch_size
        pairs = zip(self.sizes, asked, strict=True)
        return tuple(draws.counted(samples, *work, size) for samples, work in pairs)
