"""``python -m tests.fuzz``: hostile inputs at every boundary of fedcore, and a table of them.

Each case is made from the seed, the name of its boundary and its number alone, so that one that
fails is made again by the line that is printed with it. Boundaries run in a process of their own
each: one that a case ends (a signal) is counted as crashed, and the next process goes on after it.
Exit status: 0 where every case was accepted or refused by an error of fedcore's own, else 1.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import resource
import sys
from typing import Any

from tests.fuzz.session import BOUNDARIES, MEMORY, Boundary, Session, Tally, failure, share

_BAD = ("crashed", "hung", "escaped")
_HEAD = ("boundary", "cases", "accepted", "refused", *_BAD, "MiB more", "CPU s")


def main() -> int:
    options = _options()
    chosen = tuple(b for b in BOUNDARIES if options.boundary in (None, b.name))
    if not chosen:
        names = ", ".join(boundary.name for boundary in BOUNDARIES)
        print(f"--boundary must be one of {names}, got {options.boundary!r}", file=sys.stderr)
        return 2
    if options.case is not None:
        return _replay(chosen[0], options.seed, options.case)
    tallies = {}
    for boundary, count in share(options.cases, chosen):
        if boundary.weight == 0 and options.boundary is None:
            count = options.commands
        if count:
            tallies[boundary] = _in_processes(boundary, count, options.seed)
    _print(tallies)
    return int(any(_faults(tally) for tally in tallies.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="in all (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of all cases (default: 0)")
    parser.add_argument("--boundary", help="only this one")
    parser.add_argument("--case", type=int, help="make this case again, and show what it does")
    parser.add_argument(
        "--commands", type=int, default=5, help="cases that start the command (default: 5)"
    )
    return parser.parse_args()


def _replay(boundary: Boundary, seed: int, number: int) -> int:
    session = Session()
    try:
        outcome, why = session.case(boundary, seed, number)
    finally:
        session.close()
    print(f"{outcome}: {why}")
    return int(outcome in _BAD)


def _in_processes(boundary: Boundary, count: int, seed: int) -> Tally:
    total, began, first = Tally(), _cpu(), 0
    forks = multiprocessing.get_context("fork")
    while first < count:
        reader, writer = forks.Pipe(duplex=False)
        at = forks.Value("q", first)
        child = forks.Process(target=_child, args=(boundary, range(first, count), seed, at, writer))
        child.start()
        writer.close()
        part = None
        with contextlib.suppress(EOFError):
            part = reader.recv()
        child.join()
        if part is None:
            total.counts["crashed"] += 1
            why = f"ended the process, exit code {child.exitcode}"
            total.failures.append(failure(boundary, seed, at.value, "crashed", why))
            total.counts["accepted"] += at.value - first  # or refused: nobody is left to tell
            first = at.value + 1
            continue
        total.counts += part.counts
        total.failures += part.failures
        total.memory = max(total.memory, part.memory)
        break
    total.seconds = _cpu() - began
    return total


def _cpu() -> float:
    """CPU seconds of the processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _child(boundary: Boundary, cases: range, seed: int, at: Any, writer: Any) -> None:
    session = Session()

    def begin(number: int) -> None:
        at.value = number

    try:
        writer.send(session.run(boundary, cases, seed, begin))
    finally:
        session.close()


def _faults(tally: Tally) -> int:
    return sum(tally.counts[name] for name in _BAD) + (tally.memory > MEMORY)


def _print(tallies: dict[Boundary, Tally]) -> None:
    rows = [_HEAD]
    for boundary, tally in tallies.items():
        counts = tally.counts
        numbers = (
            counts.total(),
            counts["accepted"],
            counts["refused"],
            *(counts[n] for n in _BAD),
        )
        rows.append(
            (boundary.name, *map(str, numbers), f"{tally.memory:.0f}", f"{tally.seconds:.1f}")
        )
    sums = [sum(int(row[column]) for row in rows[1:]) for column in range(1, 7)]
    most = max(tally.memory for tally in tallies.values())
    spent = sum(tally.seconds for tally in tallies.values())
    rows.append(("all", *map(str, sums), f"{most:.0f}", f"{spent:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        print("  ".join(cells))
    for boundary, tally in tallies.items():
        for line in tally.failures[:20]:
            print(line)
        if tally.memory > MEMORY:
            print(f"{boundary.name}: {tally.memory:.0f} MiB more than before, may be {MEMORY}")


if __name__ == "__main__":
    sys.exit(main())
