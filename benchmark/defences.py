"""What the matrix of defences compares, in the order in which the field does, and how it is set.

The federation is the literature's (Karimireddy et al. 2022): 25 clients that all take part, 5 of
them malicious. Every rule's precondition then holds (Bulyan needs 4 f + 3 = 23), but for Bulyan
behind bucketing, which is left out with a note. All arms do the same local work, so that a
difference is the defence's: what each rule would gain by a solver of its own is not in the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedcore import Scenario
from fedcore.components.written import pieces
from fedcore.harness.suite.cells import Cell, poisons
from fedcore.harness.suite.matrix import Column, Matrix, Row
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.targets import dealable

MALICIOUS = 0.2
IID: dict[str, Any] = {"partition": "iid"}
#: At alpha 0.1 the median still rises after 60 rounds: nothing could be ranked.
SKEWED: dict[str, Any] = {"partition": "dirichlet", "alpha": 0.3, "min_partition_size": 2}
VERY_SKEWED: dict[str, Any] = {**SKEWED, "alpha": 0.1}

#: Length that clipping rules clip to: what honest updates have once the model has learned (medians
#: of 0.4 to 0.6 on mnist5k from round 10 on, IID and skewed). At their default of 1 they would clip
#: hardly anybody there, and be plain averaging.
BOUND = 0.5


def _names(chain: str) -> list[str]:
    """The names in a written chain, without parameters."""
    return [step.partition("(")[0] for step in pieces(chain)]


#: Rules, each followed by what is compared with it most: (strategy, chain in front of it).
ROWS = [
    Row(strategy, chain, " + ".join([*_names(chain), *_names(strategy)]))
    for strategy, chain in (
        ("fedavg", ""),
        ("fednova", ""),
        ("median", ""),
        ("krum", ""),
        ("median", "nnm"),
        ("krum", "nnm"),
        ("trimmedmean", ""),
        ("multikrum", ""),
        ("rfa", ""),
        (f"centeredclipping(norm_bound={BOUND})", ""),
        ("trimmedmean", "nnm"),
        ("rfa", "nnm"),
        ("krum", "bucketing(size=2)"),
        ("bulyan", ""),
        ("foolsgold", ""),
        (f"normclipping(norm_bound={BOUND})", ""),
        ("fltrust", ""),
        ("flame", ""),
        ("signguard", ""),
        ("dnc", ""),
        (f"centeredclipping(norm_bound={BOUND})", "nnm"),
        ("multikrum", "nnm"),
        ("median", "bucketing(size=2)"),
        ("rfa", "bucketing(size=2)"),
        ("rlr", ""),
        ("meamed", ""),
        ("fedavg", "arc"),
        ("krum", "arc, nnm"),
        ("cge", ""),
        ("mda", ""),
        ("monna", ""),
        ("caf", ""),
        ("meanofmedians", ""),
        ("weakdp", ""),
        ("bulyan", "nnm"),
        ("scaffold", ""),
        ("feddyn", ""),
    )
]

#: The one place where the strength of each attack is set: a backdoor poisons half of the samples
#: of its clients (the others keep the main task learned), every other attack on data all of them.
#: What is not written is the component's default, which is its paper's.
_DOOR = "backdoor(poison_ratio=0.5)"
_ATTACKS: list[tuple[str, str]] = [
    ("flip", "labelflip"),
    ("alie", "alie"),
    ("minmax", "minmax"),
    ("door", "backdoor"),
    ("signflip", "signflip"),
    ("ipm", "ipm"),
    ("replace", f"scaled(of={_DOOR})"),
    ("minsum", "minsum"),
    ("alie1.5", "alie(z=1.5)"),
    ("gauss", "gaussian"),
    ("fangtrim", "fangtrim"),
    ("fangkrum", "fangkrum"),
    ("mimic", "mimic"),
    ("dba", "dba"),
    ("neuro", f"neurotoxin(of={_DOOR})"),
    ("optalie", "optimalalie"),
    ("optipm", "optimalipm"),
    ("longer", f"trainlonger(of={_DOOR})"),
    ("2ndbest", "secondbest"),
    ("arnoise", "arnoise"),
    ("nan", "nonfinite"),
]
_HALF = ("backdoor", "dba")


def column(label: str, attack: str) -> Column:
    """``attack`` at the strength that it has in the matrix."""
    changes: dict[str, Any] = {"attack": attack}
    head = attack.partition("(")[0]
    if _registered(head) and poisons(head) and "poison_ratio" not in attack:
        changes["poison_ratio"] = 0.5 if head in _HALF else 1.0
    return Column(label, changes)


def _registered(name: str) -> bool:
    from fedcore.attacks.attack import ATTACKS

    return name in ATTACKS


def columns() -> list[Column]:
    """The attacks, the most compared first."""
    return [column(label, attack) for label, attack in _ATTACKS]


#: Local work by data set, the same for all arms; of other data sets that of the default.
WORK: Mapping[str, dict[str, Any]] = {
    "mnist5k": {"optimizer": "sgd", "lr": 0.2, "local_epochs": (1, 3), "rounds": 40},
    "bloodmnist": {"optimizer": "momentum", "lr": 0.05, "local_epochs": (1, 3), "rounds": 40},
}


def base(options: Options) -> Scenario:
    """What all cells share."""
    return Scenario(
        dataset=options.dataset,
        model=options.model or "cnn",
        image_size=options.image_size,
        num_clients=25,
        fraction_train=1.0,
        **WORK.get(options.dataset, WORK["mnist5k"]),
    )


def cells(options: Options) -> Iterator[Cell]:
    """The cells of the chosen profile, of what is named where something is."""
    if options.profile == "study":
        return
    start, more = base(options), {"overrides": options.overrides, "note": options.note}
    rows, attacks = _rows(options), _columns(options)
    if options.profile == "smoke":
        options.note(
            "smoke: every defence against one attack and every attack against plain averaging, for "
            "3 rounds: it shows that they work, and says nothing about which is better"
        )
        brief = start.but(rounds=3, local_epochs=1)
        yield from Matrix(brief, rows, attacks, [IID], MALICIOUS, 1, cross=True, **more).cells()
        return
    partitions, seeds = [IID, SKEWED], 3
    if options.profile == "full":
        partitions, seeds = [IID, SKEWED, VERY_SKEWED], 5
    elif not options.naming_option:
        rows, attacks = rows[:6], attacks[:4]
    dealt = dealable(options, start, partitions)
    yield from Matrix(start, rows, attacks, dealt, MALICIOUS, seeds, **more).cells()


def _rows(options: Options) -> list[Row]:
    """The defences asked for, behind plain averaging, which every attack is controlled on."""
    if not options.strategies and options.preaggregation is None:
        return ROWS
    chain = options.preaggregation or ""
    named = [
        arm["strategy"] for arm in options.arms([{"strategy": "median"}, {"strategy": "krum"}])
    ]
    return [Row("fedavg"), *(Row(name, chain) for name in named if name != "fedavg" or chain)]


def _columns(options: Options) -> list[Column]:
    if not options.attacks:
        return columns()
    return [column(name.partition("(")[0], name) for name in options.attacks]
