"""``fedcore run``: one scenario from flags, a line per round, then what came of it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fedcore.cli.flags import add_flags, chosen_scenario
from fedcore.cli.process import importing
from fedcore.components.parameters import shown
from fedcore.cores import DEVICES
from fedcore.errors import ResultsError, ScenarioError, StoreError
from fedcore.lifeline import WORKER_TIMEOUT
from fedcore.outside.limits import JOBS, SEED
from fedcore.outside.paths import expanded, printable
from fedcore.scenario import Scenario

if TYPE_CHECKING:
    from fedcore.records.record import Record
    from fedcore.simulation.checkpoints import Checkpoints
    from fedcore.simulation.trial import RoundReport

NAME = "run"
HELP = "run one scenario"
DESCRIPTION = (
    "Run one scenario with one seed. The same scenario and seed give the same bits on one machine "
    "and device. Names and parameters: fedcore list."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command, then those of the scenario."""
    parser.usage = "%(prog)s [options]"
    parser.add_argument("--preset", metavar="NAME", help="a named scenario; flags override it")
    parser.add_argument("--seed", default="0", metavar="N", help="seed of the run (default 0)")
    parser.add_argument(
        "--cohort-size", metavar="N", help="clients a round, instead of --fraction-train"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", help="data files (default: $FEDCORE_DATA, else the user cache)"
    )
    parser.add_argument(
        "--device", default="auto", metavar="{auto,cpu,cuda}", help="where to compute (auto)"
    )
    parser.add_argument(
        "--engine", default="auto", metavar="NAME", help="how to train: see fedcore list engines"
    )
    parser.add_argument(
        "--precision",
        default="float32",
        metavar="NAME",
        help="float32 (default), float64; for GPUs bfloat16, tf32",
    )
    parser.add_argument(
        "--processes",
        metavar="N",
        help="that train a cohort together on the CPU, to the same bits (default: the cores)",
    )
    parser.add_argument(
        "--worker-timeout",
        type=float,
        default=WORKER_TIMEOUT,
        metavar="SECONDS",
        help="end such processes if none has finished a client's work for so long, and make the "
        f"run once more (default {WORKER_TIMEOUT:.0f})",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="save the run in DIR every few rounds, and go on from what is there of this very run, "
        "to the same bits",
    )
    parser.add_argument(
        "--checkpoint-every",
        metavar="N",
        help="rounds between two checkpoints (default: 5, and as seldom as takes 2 %% of the time)",
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write the record as JSON to FILE; without FILE or with '-' to standard output, "
        "alone there: all else goes to standard error",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="no line per round; with '--json -' the JSON only"
    )
    add_flags(parser)


def execute(options: argparse.Namespace) -> int:
    """Run what ``options`` say. Raises FedcoreError for what cannot be run."""
    with importing():
        scenario, seed = _checked(options)
        from fedcore.console import RoundLines, summary
        from fedcore.engine.execution import PRECISIONS, Execution, default_processes
        from fedcore.simulation.checkpoints import Checkpoints
        from fedcore.simulation.runner import run
    if options.precision not in PRECISIONS:
        raise ScenarioError(
            [f"--precision must be one of {', '.join(PRECISIONS)}, got {options.precision!r}"]
        )
    processes = int(options.processes or default_processes(options.device))
    how = {
        "engine": options.engine,
        "device": options.device,
        "precision": options.precision,
        "processes": processes,
        "worker_timeout": options.worker_timeout,
    }
    Execution(**how)  # or it says why not
    target = None if options.json in (None, "-") else expanded(options.json)
    if target is not None:
        _check_writable(target)  # now, not after an hour of training

    places = None
    if options.checkpoint is not None:
        every = options.checkpoint_every
        folder = expanded(Path(options.checkpoint))
        places = Checkpoints(folder, None if every is None else int(every))

    stream: TextIO | None = sys.stderr if options.json == "-" else sys.stdout
    if options.quiet and options.json == "-":
        stream = None
    lines = None
    if stream is not None and not options.quiet:
        print(f"{scenario.id}, seed {seed}", file=stream, flush=True)
        lines = RoundLines(scenario, stream)
    made = 0

    def hear(report: RoundReport) -> None:
        nonlocal made
        made = report.round
        if lines is not None:
            lines(report)

    def resumed(rounds: int) -> None:
        if stream is not None:
            print(f"{rounds} rounds are made, says {options.checkpoint}", file=stream, flush=True)

    def make() -> Record:
        return run(
            scenario, seed, data_dir=options.data_dir, on_round=hear, checkpoint=places,
            on_resume=resumed, **how,
        )  # fmt: skip

    try:
        record = _persistently(make)
    except KeyboardInterrupt:
        print(_kept(made, scenario.rounds, places), file=sys.stderr, flush=True)
        raise
    if stream is not None:
        print(summary(record), file=stream, flush=True)
    if options.json == "-":
        print(record.to_json())
    elif target is not None:
        _write(target, record.to_json() + "\n")
    return 0


def _persistently(make: Callable[[], Record]) -> Record:
    """What ``make`` returns, on a second try where processes were lost in the first."""
    from fedcore.engine.parallel import HelperLost

    try:
        return make()
    except HelperLost as error:
        print(f"fedcore: {error}; the run is made once more", file=sys.stderr, flush=True)
    return make()


def _kept(made: int, rounds: int, places: Checkpoints | None) -> str:
    """What an interrupt leaves of a run of which ``made`` rounds were made."""
    if places is None:
        return f"{made} of {rounds} rounds were made and are lost: --checkpoint DIR keeps them"
    return (
        f"{made} of {rounds} rounds were made, {places.saved} of them are saved in {places.folder}:"
        " the same command goes on from there"
    )


def _checked(options: argparse.Namespace) -> tuple[Scenario, int]:
    """Scenario and seed; ScenarioError with every problem in what was typed."""
    problems: list[str] = []
    seed: Any = options.seed
    if not re.fullmatch("[0-9]{1,19}", seed) or int(seed) > SEED:
        problems.append(f"--seed must be an integer >= 0 and < 2^63, got {shown(seed)}")
    if options.device not in DEVICES:
        problems.append(f"--device must be one of {', '.join(DEVICES)}, got {options.device!r}")
    processes = options.processes
    if processes is not None and not (
        re.fullmatch("[1-9][0-9]{0,5}", processes) and int(processes) <= JOBS
    ):
        problems.append(
            f"--processes must be an integer >= 1 and <= {JOBS}, got {shown(processes)}"
        )
    every = options.checkpoint_every
    if every is not None and not re.fullmatch(r"[1-9][0-9]{0,8}", every):
        problems.append(f"--checkpoint-every must be an integer >= 1, got {every!r}")
    if every is not None and options.checkpoint is None:
        problems.append("--checkpoint-every says how often, and needs --checkpoint DIR")
    try:
        scenario = chosen_scenario(
            options, preset_name=options.preset, cohort_size=options.cohort_size
        )
    except ScenarioError as error:
        raise ScenarioError([*problems, *error.problems]) from None
    if problems:
        raise ScenarioError(problems)
    return scenario, int(seed)


def _check_writable(path: Path) -> None:
    try:
        new = not path.exists()
        with path.open("a", encoding="utf-8"):
            pass
        if new:
            path.unlink()
    except (OSError, ValueError) as error:
        raise ResultsError(_unwritable(path, error)) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(_unwritable(path, error)) from error


def _unwritable(path: Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or error
    return (
        f"the record cannot be written to {printable(path)} ({reason}): name another file with "
        "--json FILE"
    )
