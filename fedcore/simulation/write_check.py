"""Whether the server's code writes into the updates that it is given, which are not its own.

They are the engine's memory, and what a round is judged by and made once more from.
"""

from __future__ import annotations

import numpy as np
import torch

from fedcore.simulation.identity_sample import columns
from fedcore.strategies.definitions import Floats


class WriteCheck:
    """Compares updates at a sample of coordinates with what they were before a step.

    It keeps the updates until `written` has been asked, and no copy beyond the sample.
    """

    def __init__(self) -> None:
        self._before: tuple[torch.Tensor, torch.Tensor, Floats] | None = None

    def before(self, updates: torch.Tensor, places: torch.Tensor, rows: Floats) -> None:
        """Keep ``rows`` [K, s], what ``updates`` [K, P] are at ``places`` [s]."""
        self._before = updates, places, rows

    def written(self, *, last: bool = True) -> bool:
        """Whether the updates are others than before; not again once that was True.

        ``last``: nothing more will happen to them, so that they are let go.
        """
        if self._before is None:
            return False
        updates, places, rows = self._before
        other = not np.array_equal(columns(updates, places), rows, equal_nan=True)
        if last or other:
            self._before = None
        return other
