"""``python -m tests.reliability kills|soak|cost``: figures of docs/reliability.md, on Linux."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.reliability import cost, kills, soak


def main() -> int:
    """Run the command that the arguments name; 0 where nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    kills.add_arguments(commands.add_parser("kills", help=kills.__doc__))
    soak.add_arguments(commands.add_parser("soak", help=soak.__doc__))
    cost.add_arguments(commands.add_parser("cost", help=cost.__doc__))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.command == "kills":
            targets = (given.target,) if given.target else kills.TARGETS
            failures = kills.kills(folder, given.times, given.seed, targets, given.grace)
        elif given.command == "cost":
            failures = cost.cost(folder, given.rounds)
        else:
            failures = soak.soak(folder, given.times)
    return int(failures > 0)


if __name__ == "__main__":
    raise SystemExit(main())
