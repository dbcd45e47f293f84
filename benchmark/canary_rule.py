"""Which strategy meets which partition and attack in a canary: a covering choice, not the product.

The product of strategies, partitions and attacks was recorded while these were few, and stays:
`CORE`. It cannot grow on, so what is registered beside it is covered by pairs that can go wrong:

- each new attack in front of `FACED` (the mean, a median, a rule that selects, one that weighs) on
  `SKEWED`, where attacks hide best;
- each new strategy on every core partition without an attacker, and on `SKEWED` in front of `MET`;
- each new partition under `PLAIN`, without an attacker and under `MET[0]`;
- each new pre-aggregation in front of `STEPPED`: of a median without an attacker, on the base's
  partition, and of a rule that selects, on `SKEWED` and under `MET[1]`.

So a new component is in at least `LEAST` canaries, and fails until they are recorded. What is not
`CORE` runs for `SHORT` rounds: two of them show what a component keeps from round to round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: Recorded in full, every strategy x partition x attack: names that are never taken off.
CORE = {
    "strategy": (
        "bulyan", "centeredclipping", "fedadam", "fedavg", "fedavgm", "fedbn", "fednova",
        "fedprox", "fedyogi", "krum", "median", "multikrum", "normclipping", "rfa", "trimmedmean",
    ),
    "partition": ("dirichlet", "iid", "pathological"),
    "attack": ("backdoor", "labelflip", "pairflip", "scaled", "signflip", "targetedflip"),
    "preaggregation": ("bucketing",),
}  # fmt: skip
SKEWED = "dirichlet"
SHORT = 4
#: Strategies that each new attack meets.
FACED = ("fedavg", "krum", "median", "rfa")
#: Attacks that each new strategy meets: on data, on updates without and with others' knowledge.
MET = ("labelflip", "signflip", "alie")
PLAIN = ("fedavg", "median")
#: Strategies behind each pre-aggregation; the second one behind new ones only.
STEPPED = ("median", "krum")
#: How many canaries a component is in at least, by its kind.
LEAST = {"strategy": 6, "partition": 4, "attack": 4, "preaggregation": 1, "optimizer": 1}

Cell = tuple[str, str, str | None]


def grid(
    strategies: Iterable[str], partitions: Iterable[str], attacks: Iterable[str]
) -> Iterator[Cell]:
    """Each (strategy, partition, attack or None) of the rule once, of the names that there are."""
    names = sorted(strategies), sorted(partitions), sorted(attacks)
    for strategy, partition, attack in dict.fromkeys(_cells(*names)):
        if strategy in names[0] and partition in names[1] and attack in (None, *names[2]):
            yield strategy, partition, attack


def is_core(cell: Cell) -> bool:
    """Whether ``cell`` is of the product that was recorded in full."""
    strategy, partition, attack = cell
    known = strategy in CORE["strategy"] and partition in CORE["partition"]
    return known and (attack is None or attack in CORE["attack"])


def _cells(strategies: list[str], partitions: list[str], attacks: list[str]) -> Iterator[Cell]:
    for strategy in CORE["strategy"]:
        for partition in CORE["partition"]:
            for attack in (None, *CORE["attack"]):
                yield strategy, partition, attack
    for strategy in strategies:
        if strategy not in CORE["strategy"]:
            yield from ((strategy, partition, None) for partition in CORE["partition"])
            yield from ((strategy, SKEWED, attack) for attack in MET)
    for attack in attacks:
        if attack not in CORE["attack"]:
            yield from ((strategy, SKEWED, attack) for strategy in FACED)
    for partition in partitions:
        if partition not in CORE["partition"]:
            yield from ((strategy, partition, None) for strategy in PLAIN)
            yield from ((strategy, partition, MET[0]) for strategy in PLAIN)


def steps(preaggregations: Iterable[str]) -> Iterator[tuple[str, str, str | None, str | None]]:
    """Each (pre-aggregation, strategy, partition or None for the base's, attack or None)."""
    for step in sorted(preaggregations):
        yield step, STEPPED[0], None, None
        if step not in CORE["preaggregation"]:
            yield step, STEPPED[1], SKEWED, MET[1]
