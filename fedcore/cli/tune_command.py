"""``fedcore tune``: choose each strategy's solver and learning rate on clean data, by one rule."""

from __future__ import annotations

import argparse
from pathlib import Path

from fedcore.cli.flags import add_flags, chosen_scenario
from fedcore.outside.limits import JOBS
from fedcore.outside.limits import SEEDS as SEEDS_LIMIT
from fedcore.outside.paths import expanded

NAME = "tune"
HELP = "choose solver and learning rate per strategy, on clean held-out data"
DESCRIPTION = (
    "For each STRATEGY try all candidates on the scenario of the flags, without attack and on held-"
    "out training samples, and print the best that never diverges as a table of "
    "benchmark/tuning.toml."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Strategies, where and with how many workers, and the fields of the scenario."""
    parser.add_argument("strategies", metavar="STRATEGY", nargs="+", help="see fedcore list")
    parser.add_argument(
        "--seeds", type=int, default=4, help="seeds 1000, 1001, ... per arm (default: 4)"
    )
    parser.add_argument(
        "--trial",
        type=int,
        metavar="N",
        help="what is chosen must stay finite on seeds 1000, 1001, ... (default: 20 of them)",
    )
    parser.add_argument(
        "--one-solver",
        action="store_true",
        help="the same solver for all STRATEGIES, as a comparison of them needs",
    )
    parser.add_argument(
        "--iid-only",
        action="store_true",
        help="leave the skewed partition out, for strategies that learn nothing there",
    )
    parser.add_argument("--data-dir", help="data sets and weights")
    parser.add_argument("--jobs", type=int, help="worker processes (default: the cores)")
    parser.add_argument("--results", type=Path, default=Path(".fedcore"), help="stored runs")
    add_flags(parser)


def execute(options: argparse.Namespace) -> int:
    """Tune. Raises ScenarioError or UnknownNameError before the first run."""
    from fedcore.cores import cores
    from fedcore.errors import ScenarioError
    from fedcore.harness.statistics.estimates import Noise
    from fedcore.harness.suite.lab import Lab
    from fedcore.harness.suite.options import Options
    from fedcore.harness.suite.thresholds import Thresholds
    from fedcore.harness.tuning.search import PARTITIONS, SEEDS, TRIAL, tune

    trial = len(TRIAL) if options.trial is None else options.trial
    problems = [
        f"{name} must be {f'at least {low}' if value < low else f'at most {high}'}, got {value}"
        for name, value, low, high in (
            ("--seeds", options.seeds, 1, SEEDS_LIMIT),
            ("--trial", trial, 0, SEEDS_LIMIT),
            ("--jobs", 1 if options.jobs is None else options.jobs, 1, JOBS),
        )
        if not low <= value <= high
    ]
    if problems:
        raise ScenarioError(problems)
    base = chosen_scenario(options, preset_name=None, cohort_size=None)
    settings = Options(
        data_dir=options.data_dir, jobs=options.jobs or cores(), results=expanded(options.results)
    )
    lab = Lab(settings, Thresholds((), Noise(1.0, 1.0)))  # nothing is judged
    try:
        tune(
            lab,
            base,
            options.strategies,
            one_solver=options.one_solver,
            partitions=PARTITIONS[:1] if options.iid_only else PARTITIONS,
            seeds=range(SEEDS.start, SEEDS.start + options.seeds),
            trial=range(TRIAL.start, TRIAL.start + trial),
            listen=lambda choice: print(choice.toml(), flush=True),
        )
    finally:
        lab.close()
    return 0
