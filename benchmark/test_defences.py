"""Defence x attack x partition: accuracy, worst case per defence, and ranks with their intervals.

    pytest benchmark/test_defences.py --profile smoke                 # working order, 3 minutes
    pytest benchmark/test_defences.py --dataset bloodmnist            # quick
    pytest benchmark/test_defences.py --profile full --hours 3 --report DIR
    fedcore report DIR --page docs/results/NAME.md                    # the tables as a document

`pytest benchmark` leaves this file out: name it, as above. Its quick profile takes as long as all
other cells together. Runs are stored, and a stopped session goes on where it was: the cells come
in growing squares of the most compared defences and attacks.

What is compared, and the strength of every attack: `defences`. A cell has no limit to hold. It
fails where a run, an audit, the identity of a rule or a pair with its clean twin is broken; an
attack without a shown effect on plain averaging skips, with the figures.
"""

from __future__ import annotations

import pytest

from .defences import cells


@pytest.mark.cells(function=lambda options: cells(options))
def test_defences(outcome) -> None:
    """The cell is measured and proven; undefended averaging suffers under its attack."""
    outcome.check()
