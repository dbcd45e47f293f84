"""W1 on fedcore, as its command line runs it; laps are the times at which it prints its rounds.

The preset scores the global model once, after round 10: that time lies in the last round.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import sys

from fedcore.cli import main as fedcore
from fedcore.cli.process import exit_with

from .laps import SEED, Laps, report  # not w1: the command itself imports torch

COMMAND = ["run", "--preset", "w1", "--seed", str(SEED), "--processes", "2", "--device", "cpu"]


class Stamped(io.StringIO):
    """Standard error, with a lap at each line of a round; the heading starts the first one."""

    def __init__(self, laps: Laps) -> None:
        super().__init__()
        self.laps = laps

    def write(self, text: str) -> int:
        if re.match(r"round\s", text.strip()):
            self.laps.start()
        elif re.match(r"\d+/\d+\s", text.strip()):
            self.laps()
        return super().write(text)


def main() -> int:
    """Train, then print the report; the status of the command line.

    Arguments are further ones of `fedcore run`, such as ``--engine flower-ray``.
    """
    laps, out = Laps(), io.StringIO()
    stamped = Stamped(laps)
    with contextlib.redirect_stderr(stamped), contextlib.redirect_stdout(out):
        status = fedcore(
            [*COMMAND, "--data-dir", os.environ["W1_DATA"], "--json", "-", *sys.argv[1:]]
        )
    if status:
        sys.stderr.write(stamped.getvalue())
        return status
    record = json.loads(out.getvalue())
    audit, scenario = record["audit"], record["scenario"]
    steps = sum(
        audit["epochs"][client] * math.ceil(audit["samples"][client] / scenario["batch_size"])
        for cohort in audit["cohorts"]
        for client in cohort
    )
    report(laps.seconds, steps, record["model_digest"])
    return 0


if __name__ == "__main__":
    exit_with(main)  # as the command itself ends
