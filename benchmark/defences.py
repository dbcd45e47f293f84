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
from fedcore.attacks.attack import ATTACKS
from fedcore.components.parameters import REQUIRED
from fedcore.components.registry import Registry
from fedcore.components.written import pieces
from fedcore.harness.suite.cells import Cell, poisons
from fedcore.harness.suite.matrix import Column, Matrix, Row
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.targets import dealable
from fedcore.strategies.strategy import STRATEGIES

MALICIOUS = 0.2
IID: dict[str, Any] = {"partition": "iid"}
#: At alpha 0.1 the median still rises after 60 rounds, and could not be ranked.
SKEWED: dict[str, Any] = {"partition": "dirichlet", "alpha": 0.3, "min_partition_size": 2}

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
        ("medianofmeans", ""),
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
    # durability: the tail accuracy and ASR are of rounds after the attackers have left
    ("door.left", f"until(of={_DOOR}, last_round={{half}})"),
    ("minsum", "minsum"),
    ("alie1.5", "alie(z=1.5)"),
    ("gauss", "gaussian"),
    ("fangtrim", "fangtrim"),
    # its f is not that of the rule that it meets: None is the true number of the round
    ("fangkrum", "fangkrum(num_byzantine=None)"),
    ("mimic", "mimic"),
    ("dba", "dba"),
    ("neuro", f"neurotoxin(of={_DOOR})"),
    ("neuro.left", f"until(of=neurotoxin(of={_DOOR}), last_round={{half}})"),
    ("optalie", "optimalalie"),
    ("optipm", "optimalipm"),
    ("longer", f"trainlonger(of={_DOOR})"),
    ("2ndbest", "secondbest"),
    ("arnoise", "arnoise"),
    ("nan", "nonfinite"),
]
_HALF = ("backdoor", "dba")


def rows() -> list[Row]:
    """The defences, the most compared first; robust rules that are not listed come last."""
    listed = {name for row in ROWS for name in _names(row.strategy)}
    return [*ROWS, *(Row(name) for name in _ours(STRATEGIES, ".robust.") if name not in listed)]


def _ours(registry: Registry[Any], room: str) -> Iterator[str]:
    """Names of fedcore's own components in ``room`` that need no parameter."""
    for name in registry:
        part = registry.entry(name).part
        required = any(spec.default is REQUIRED for spec in part.specs().values())
        if part.__module__.startswith("fedcore.") and room in part.__module__ and not required:
            yield name


def column(label: str, attack: str) -> Column:
    """``attack`` at the strength that it has in the matrix."""
    changes: dict[str, Any] = {"attack": attack}
    head = attack.partition("(")[0]
    if head in ATTACKS and poisons(head) and "poison_ratio" not in attack:
        changes["poison_ratio"] = 0.5 if head in _HALF else 1.0
    return Column(label, changes)


def columns(rounds: int) -> list[Column]:
    """The attacks, the most compared first; those that are not listed come last.

    Of ``rounds`` attackers who leave are there for the first half, rounded up: Neurotoxin has
    nothing to mask in the first.
    """
    known = [(label, attack.format(half=(rounds + 1) // 2)) for label, attack in _ATTACKS]
    listed = {attack.partition("(")[0] for _, attack in known}
    others = [(name, name) for name in _ours(ATTACKS, ".attacks.") if name not in listed]
    return [column(label, attack) for label, attack in (*known, *others)]


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
    if options.profile == "smoke":
        start = start.but(rounds=3, local_epochs=1)
    rounds = options.overrides.get("rounds", start.rounds)
    defences, attacks = _rows(options), _columns(options, rounds)
    if options.profile == "smoke":
        options.note(
            "smoke: every defence against one attack and every attack against plain averaging, for "
            "3 rounds: it shows that they work, and says nothing about which is better"
        )
        yield from Matrix(start, defences, attacks, [IID], MALICIOUS, 1, cross=True, **more).cells()
        return
    partitions, seeds = [IID, SKEWED], 3
    if options.profile == "full":
        seeds = 5
    elif not options.naming_option:
        defences, attacks = defences[:6], attacks[:4]
    dealt = dealable(options, start, partitions)
    yield from Matrix(start, defences, attacks, dealt, MALICIOUS, seeds, **more).cells()


def _rows(options: Options) -> list[Row]:
    """The defences asked for, behind plain averaging, which every attack is controlled on."""
    if not options.strategies and options.preaggregation is None:
        return rows()
    chain = options.preaggregation or ""
    named = options.arms([{"strategy": "median"}, {"strategy": "krum"}])
    found = [Row("fedavg")]
    for arm in named:
        more = {
            name: value for name, value in arm.items() if name in ("strategy_spec", "client_mods")
        }
        label = arm.get("strategy_spec", "").partition(":")[2].partition(":")[0] or None
        if arm["strategy"] != "fedavg" or chain:
            found.append(Row(arm["strategy"], chain, label, more))
    return found


def _columns(options: Options, rounds: int) -> list[Column]:
    if not options.attacks:
        return columns(rounds)
    heads = [text.partition("(")[0] for text in options.attacks]
    return [
        column(head if heads.count(head) == 1 else text, text)
        for head, text in zip(heads, options.attacks, strict=True)
    ]
