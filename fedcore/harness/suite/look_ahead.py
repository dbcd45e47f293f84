"""Which cells to come can be judged already: found without asking about any run twice."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fedcore.harness.statistics.estimates import CellVerdict

if TYPE_CHECKING:
    from fedcore.harness.suite.cells import Cell
    from fedcore.harness.suite.outcome import Outcome
    from fedcore.records.store import Run

Finished = Callable[["Run"], bool]


class LookAhead:
    """The cells to come with the looks, numbers of seeds, that each may take, in their order.

    Each cell watches one of the unfinished runs of its look; when that is finished, the next one.
    So each run of a look is asked about once, however many ticks pass.
    """

    def __init__(self, cells: Iterable[tuple[Cell, tuple[int, ...]]] = ()) -> None:
        self._looks = dict(cells)
        self._place = {cell: place for place, cell in enumerate(self._looks)}
        self._cells = list(self._looks)
        self._outcomes: dict[Cell, dict[int, Outcome]] = {}
        self._left: dict[Cell, list[Run]] = {}  # runs not known to be finished, the next one last
        self._watchers: dict[Run, list[Cell]] = {}
        self._ready: list[int] = []
        # what has begun to be watched: nothing, until a worker is idle
        self._unwatched = [cell for cell, looks in self._looks.items() if len(looks) > 1]

    def finished(self, run: Run, finished: Finished) -> None:
        """Take note that ``run`` is finished."""
        for cell in self._watchers.pop(run, ()):
            self._watch(cell, finished)

    def ready(self, finished: Finished) -> tuple[Cell, int, int] | None:
        """The first cell whose look has all its runs, that look and the next; None without one.

        Cells on their last look are left out: nothing can follow.
        """
        waiting, self._unwatched = self._unwatched, []
        for cell in waiting:
            if cell in self._looks:
                self._left[cell] = cell.runs(range(self._looks[cell][0]))[::-1]
                self._watch(cell, finished)
        while self._ready:
            cell = self._cells[heapq.heappop(self._ready)]
            if cell in self._looks:
                return cell, self._looks[cell][0], self._looks[cell][1]
        return None

    def judged(self, cell: Cell, count: int, outcome: Outcome) -> None:
        """Keep ``outcome`` of the look at ``count`` seeds; an open one lets the next look begin."""
        self._outcomes.setdefault(cell, {})[count] = outcome
        looks = self._looks[cell][1:]
        if outcome.verdict is CellVerdict.INCONCLUSIVE and len(looks) > 1:
            self._looks[cell] = looks
            self._unwatched.append(cell)
        else:
            del self._looks[cell]

    def drop(self, cell: Cell) -> dict[int, Outcome]:
        """Forget ``cell``, whose turn has come; its outcomes by number of seeds so far."""
        self._looks.pop(cell, None)
        self._left.pop(cell, None)
        return self._outcomes.pop(cell, {})

    def _watch(self, cell: Cell, finished: Finished) -> None:
        left = self._left.get(cell)
        if left is None or cell not in self._looks:
            return
        while left and finished(left[-1]):
            left.pop()
        if left:
            self._watchers.setdefault(left[-1], []).append(cell)
        else:
            heapq.heappush(self._ready, self._place[cell])
