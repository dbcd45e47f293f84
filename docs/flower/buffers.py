"""What one client of ten does through BatchNorm: `python -m docs.flower.buffers` prints the table.

The attack `buffers` sends 1e30 for every running statistic and honest parameters. Each strategy is
run without and with it, by its own rule for buffers and, as was done for all of them once, by the
sample-weighted mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from unittest import mock

from fedcore import Scenario, run
from fedcore.strategies.buffers import BUFFER_RULES
from fedcore.strategies.strategy import STRATEGIES

BASE = Scenario(
    dataset="mnist5k",
    model="mlp",
    norm="batch",
    num_clients=10,
    fraction_train=1.0,
    rounds=4,
    optimizer="sgd",
    lr=0.1,
    batch_size=64,
)
ATTACK = {"attack": "buffers", "malicious_fraction": 0.1}
GIVEN = {"normclipping": {"norm_bound": 1.0}, "centeredclipping": {"norm_bound": 1.0}}


def rows(names: Sequence[str], rounds: int, seed: int = 0) -> Iterator[tuple[str, ...]]:
    """(strategy, its rule, and last accuracies: mean clean and attacked, own clean and attacked).

    Of a strategy whose own rule is the mean both pairs are the same runs.
    """
    for name in names:
        own = STRATEGIES[name].buffer_rule
        scenario = BASE.but(strategy=name, rounds=rounds, **GIVEN.get(name, {}))
        pairs = []
        for rule in dict.fromkeys(("mean", own)):
            with mock.patch.object(STRATEGIES[name], "buffer_rule", rule):
                arms = scenario, scenario.but(**ATTACK)
                pairs.append([run(arm, seed, device="cpu").accuracy[-1] for arm in arms])
        yield name, own, *(f"{100 * value:.1f}" for pair in (pairs[0], pairs[-1]) for value in pair)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table row by row; 0 unless a rule that protects loses half of what was learnt."""
    parser = argparse.ArgumentParser(prog="python -m docs.flower.buffers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=BASE.rounds)
    parser.add_argument("--strategies", nargs="*", default=sorted(set(STRATEGIES) - {"flower"}))
    options = parser.parse_args(arguments)
    heads = ("strategy", "its rule", "mean: clean", "attacked", "its rule: clean", "attacked")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    wrong = 0
    for row in rows(options.strategies, options.rounds):
        print(f"| {' | '.join(row)} |", flush=True)
        wrong += BUFFER_RULES[row[1]].protects and _lost(row)
    return int(wrong > 0)


def _lost(row: tuple[str, ...]) -> bool:
    clean, attacked = map(float, row[4:])
    return attacked - 10 < (clean - 10) / 2


if __name__ == "__main__":
    raise SystemExit(main())
