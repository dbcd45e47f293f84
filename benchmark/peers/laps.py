"""What every adapter measures and prints, and the seed; needs nothing, so that it costs nothing."""

from __future__ import annotations

import json
import time

SEED = 0


class Laps:
    """Wall time of each round: call it when a round ends."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = time.perf_counter()

    def start(self) -> None:
        """The first round begins now."""
        self._last = time.perf_counter()

    def __call__(self) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now


def report(laps: list[float], steps: int, model_digest: str) -> None:
    """Print the result: one JSON line, the last of standard output."""
    line = {"rounds": laps, "steps": steps, "digest": model_digest}
    print(f"\n{json.dumps(line)}", flush=True)
