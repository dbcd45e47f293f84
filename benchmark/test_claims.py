"""The study's claims, decided: what its single unpaired runs could not show, in either direction.

Soubih et al., IMCOM 2025, on the federation of the robustness suite: label flips, at the study's
own shares and levels of heterogeneity, on paired seeds. The rules: `fedcore.harness.claims.rule`.
The verdict that is asserted is the one recorded in claims.toml, whichever way it fell.

Arms of 10 rounds still rise, on every partition, and decide nothing: profile full runs until they
have converged. Profile quick keeps its time. It makes the arms and shows what they do in the first
rounds, and its verdicts are open.

The arms as published keep the study's solvers, learning rates and epochs in this small federation:
not its 100 rounds of MobileNetV2, which is profile ``study`` of the robustness suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.harness.claims.claims import Claim, ClaimError
from fedcore.harness.claims.contrasts import (
    Contrast,
    Role,
    average,
    combined,
    costs,
    costs_more,
    drop,
    rise,
)
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.targets import dealable
from fedcore.scenario.presets import preset

from .suite import IID, SKEWED, TUNED, base

#: Seeds at most, a look each.
SEEDS = {"quick": 5, "full": 20}
#: Rounds after which arms are judged: of IID data alone, and where skewed arms take part.
EVEN = {"quick": (10,), "full": (20, 40)}
UNEVEN = {"quick": (10,), "full": (40, 80)}
DIRICHLET = [{**SKEWED, "alpha": alpha} for alpha in (0.9, 0.3, 0.1)]
PATHOLOGICAL: list[dict[str, Any]] = [
    {
        "partition": "pathological",
        "classes_per_client": classes,
        "class_assignment": "first-deterministic",  # no class is dropped
    }
    for classes in (7, 4, 2)
]
#: What comes with a level of heterogeneity: no client without samples, no class without clients.
LEVEL = {"partition", "min_partition_size", "class_assignment"}
#: The study's middle shares, for which its tables compare partitions and arms.
FRACTION, RATIO = 0.3, 0.5
#: Levels of both factors of the factorial; pairs that swap them have equal budgets.
LEVELS = (0.1, 0.3, 0.5)
#: What "tolerated" means, in percentage points.
MODEST = 2.0
#: The least difference that counts elsewhere, and why.
MARGIN, BECAUSE = 1.0, "the study's own tables have differences of 1 to 8 points"


def arm(options: Options, **changes: Any) -> Scenario:
    """The suite's federation with the local work tuned for its strategy on clean data."""
    return TUNED(base(options).but(**changes))


def struck(scenario: Scenario, fraction: float = FRACTION, ratio: float = RATIO) -> Scenario:
    """The same with labels flipped."""
    return scenario.but(attack="labelflip", malicious_fraction=fraction, poison_ratio=ratio)


def two_partitions(options: Options) -> list[tuple[str, dict[str, Any]]]:
    """IID, and the strongest Dirichlet skew of the suite that the data can be dealt with."""
    (skewed,) = dealable(options, base(options), [DIRICHLET[-1]])
    return [("iid", IID), (f"dirichlet {skewed['alpha']:g}", skewed)]


def heterogeneity(options: Options, seeds: int) -> Claim:
    """On the whole: the trends over both kinds of skew decide, each level guards."""
    even = struck(arm(options, **IID))
    contrasts: list[Contrast] = []
    for kind, wanted in (("dirichlet", DIRICHLET), ("pathological", PATHOLOGICAL)):
        levels = dealable(options, base(options), wanted)
        skewed = [struck(arm(options, **level)) for level in levels]
        parts = [
            costs_more(
                f"{kind} {s.alpha or s.classes_per_client} - iid",
                s,
                even,
                LEVEL,
                Role.GUARDS,
            )
            for s in skewed
        ]
        trend = rise([drop(even), *map(drop, skewed)])
        contrasts += [combined(f"{kind}, trend from iid", trend, parts), *parts]
    return Claim(
        "claim1-heterogeneity-aggravates",
        "the more clients' data differ, the more poisoning costs",
        tuple(contrasts),
        seeds,
        margin=MARGIN,
        because=BECAUSE,
        horizons=UNEVEN[options.profile],
    )


def controlled(options: Options, seeds: int) -> Claim:
    """Under both partitions: same solver, same epochs, learning rate tuned per strategy.

    Adam has no normalising vector, so that the fourth cell of strategy x solver does not exist;
    FedAvg with the study's Adam shows what a change of the solver alone does.
    """
    contrasts: list[Contrast] = []
    for name, partition in two_partitions(options):
        plain, nova = (arm(options, strategy=s, **partition) for s in ("fedavg", "fednova"))
        if plain.optimizer != nova.optimizer:
            raise ClaimError(
                "claim 2 compares strategies under one solver, but tuning.toml gives fedavg "
                f"{plain.optimizer} and fednova {nova.optimizer} on {plain.dataset}"
            )
        published = preset("study-fedavg")
        adam = plain.but(optimizer=published.optimizer, lr=published.lr)
        contrasts += [
            costs_more(
                f"fedavg - fednova, {name}", struck(plain), struck(nova), {"strategy", "lr"}
            ),
            costs_more(
                f"fedavg: adam - {plain.optimizer}, {name}",
                struck(adam),
                struck(plain),
                {"optimizer", "lr"},
                Role.REPORTED,
            ),
            costs(f"fedavg, {name}", struck(plain), Role.CONTROL),
        ]
    return Claim(
        "claim2-normalised-loses-less",
        "FedNova loses less than FedAvg: same solver, same epochs, rates tuned on clean data",
        tuple(contrasts),
        seeds,
        margin=MARGIN,
        because=BECAUSE,
        horizons=UNEVEN[options.profile],
    )


def as_published(options: Options, seeds: int) -> Claim:
    """Under both partitions, with the study's arms: both have a FedAvg server."""
    contrasts: list[Contrast] = []
    for name, partition in two_partitions(options):
        arms = []
        for study in (preset("study-fedavg"), preset("study-fednova")):
            work = {
                field: getattr(study, field)
                for field in ("strategy", "optimizer", "lr", "mu", "weight_decay", "local_epochs")
            }
            arms.append(struck(base(options).but(**partition, **work)))
        contrasts += [
            costs_more(f"adam - proximal sgd, {name}", *arms, {"strategy"}),
            costs(f"adam, {name}", arms[0], Role.CONTROL),
        ]
    return Claim(
        "claim2-as-published",
        "the arm published as FedNova loses less than the arm published as FedAvg",
        tuple(contrasts),
        seeds,
        margin=MARGIN,
        because=BECAUSE,
        as_published=True,
        horizons=UNEVEN[options.profile],
    )


def clients_over_samples(options: Options, seeds: int) -> Claim:
    """On average over the three pairs of equal budget; each pair guards."""
    iid = arm(options, **IID)
    cells = {(f, r): struck(iid, f, r) for f in LEVELS for r in LEVELS}
    shares = {"malicious_fraction", "poison_ratio"}
    pairs = [
        costs_more(
            f"clients {b:.0%}, samples {a:.0%} - reverse",
            cells[b, a],
            cells[a, b],
            shares,
            Role.GUARDS,
        )
        for a, b in combinations(LEVELS, 2)
    ]
    mean = combined("mean of the pairs", average([pair.effect for pair in pairs]), pairs)
    low, high = LEVELS[0], LEVELS[-1]
    product = (
        drop(cells[high, high])
        - drop(cells[high, low])
        - drop(cells[low, high])
        + drop(cells[low, low])
    )
    interaction = combined("interaction, linear by linear", product, pairs, Role.REPORTED)
    bite = costs_more(
        "50% x 50% - 10% x 10%", cells[high, high], cells[low, low], shares, Role.CONTROL
    )
    return Claim(
        "claim3-clients-over-samples",
        "at equal budget, malicious clients cost more than poisoned samples of each",
        (mean, *pairs, interaction, bite),
        seeds,
        margin=0.5,
        because="the whole budget costs no more than 1 to 3 points here",
        horizons=EVEN[options.profile],
    )


def modest(options: Options, seeds: int) -> Claim:
    """Under all conditions named; at the highest shares the attack must bite."""
    iid = arm(options, **IID)
    contrasts = [
        costs(f"clients {f:.0%}, samples {r:.0%}", struck(iid, f, r))
        for f, r in ((0.1, 0.1), (0.1, 0.3), (0.1, 0.5), (0.3, 0.1), (0.3, 0.3))
    ]
    bite = costs("clients 50%, samples 50%", struck(iid, 0.5, 0.5), Role.CONTROL)
    return Claim(
        "claim4-modest-is-tolerated",
        f"modest poisoning costs less than {MODEST:g} points",
        (*contrasts, bite),
        seeds,
        margin=MODEST,
        because="the study saw 0.2 to 2.5 points at modest shares, and called them tolerated",
        below=True,
        horizons=EVEN[options.profile],
    )


def claims(options: Options) -> Iterator[Claim]:
    """Every claim in the profiles that have seeds enough to decide one.

    None where a user sets the federation: what a claim asks is asked of the suite's own.
    """
    if options.profile in SEEDS and not options.settings:
        for claim in (heterogeneity, controlled, as_published, clients_over_samples, modest):
            yield claim(options, SEEDS[options.profile])


@pytest.mark.claims(function=lambda options: claims(options))
def test_claim(claim_outcome) -> None:
    """The verdict is the recorded one."""
    claim_outcome.check()
