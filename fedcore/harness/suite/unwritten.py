"""Records that were made and could not be stored: the place is full, or was taken away."""

from __future__ import annotations

from fedcore.errors import StoreError
from fedcore.harness.runs.job import Failure
from fedcore.records.record import Record
from fedcore.records.store import Inputs, Run, Store


class Unwritten:
    """The runs whose records are in memory only. They are judged, and lost with the session."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._reason = ""

    def look(self, store: Store, run: Run, result: Record | Failure) -> None:
        """Note ``run`` if ``result``, just made, is not in ``store`` and cannot be put there."""
        if isinstance(result, Failure):
            return
        inputs = Inputs.of(result)
        if not inputs.certain or store.path(run, inputs).is_file():
            return
        try:
            store.put(run, inputs, result)
        except StoreError as error:
            self.runs.append(run)
            self._reason = str(error)

    def message(self) -> str | None:
        """What to say of them; None where there are none."""
        if not self.runs:
            return None
        return (
            f"{len(self.runs)} records could not be stored, so that these runs will be made again: "
            f"{self._reason}; make room, or name another place with --results"
        )
