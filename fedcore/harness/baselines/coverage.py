"""Which cells a session knows of and which it selected: what a baseline may miss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Coverage:
    """What was collected and selected: the test of every cell by its id, and the selected ids.

    ``files`` are the test files that lie in the suite's folder, collected or not.
    """

    tests: Mapping[str, str]
    selected: frozenset[str]
    files: frozenset[str]

    @property
    def complete(self) -> bool:
        """Whether every collected cell is selected (no -k, -m or test id left any out)."""
        return self.selected == frozenset(self.tests)

    def gone(self, name: str, test: str) -> bool:
        """Whether the suite no longer has cell ``name`` of ``test``; False if it may not know."""
        file = test.partition("::")[0]
        collected = {known.partition("::")[0] for known in self.tests.values()}
        return name not in self.tests and (file in collected or file not in self.files)
