"""The study's own cells against the accuracies that it printed (profile ``study``).

Soubih et al., IMCOM 2025: both arms exactly as they were run (``fedcore run --preset study-fedavg``
and ``study-fednova``), at its partitions (seed 123) and shares, poison redrawn at every
participation. Values, deviations and the rule of the tolerance: study.toml. What remains
different: the study drew one malicious set, at 30 % the clients 2 8 13 16 19 22 24 25 26 30 31 32
37 44 48, and seeded nothing else; here set, cohorts and weights follow from the run's seed, so
that a run is one more draw of the study's experiment, not a repetition of its random choices.

Without a GPU the same code runs in a reduced form: 32 pixels and 15 rounds in place of 224 and
100, and of the cells those that the study's claims rest on. Its cells are shown beside what was
published and are not judged against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedcore import Scenario
from fedcore.engine.execution import choose_device
from fedcore.harness.suite.cells import Cell
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.published import PublishedCell, PublishedError, read_published
from fedcore.scenario.naming import identifier
from fedcore.scenario.presets import preset

PUBLISHED = Path(__file__).with_name("study.toml")
PARTITIONS: dict[str, dict[str, Any]] = {
    "iid": {"partition": "iid"},
    **{
        f"dirichlet{alpha}": {"partition": "dirichlet", "alpha": alpha, "partition_seed": 123}
        for alpha in (0.9, 0.3, 0.1)
    },
    **{
        f"pathological{classes}": {"partition": "pathological", "classes_per_client": classes}
        for classes in (7, 4, 2)
    },
}
REDUCED: dict[str, Any] = {"image_size": 32, "rounds": 15}
#: IID (malicious fraction, poison ratio) of the reduced form, where the study printed a value.
REDUCED_SHARES = ((0.0, 0.0), (0.3, 0.8), (0.5, 0.8))


def arm(entry: PublishedCell) -> Scenario:
    """The scenario of ``entry`` as the study ran it. Raises PublishedError."""
    if entry.partition not in PARTITIONS:
        raise PublishedError(
            f"published values {PUBLISHED}: partition must be one of {', '.join(PARTITIONS)}, got "
            f"{entry.partition!r}"
        )
    scenario = preset(entry.arm).but(**PARTITIONS[entry.partition])
    if not entry.malicious_fraction:
        return scenario
    return scenario.but(
        attack="labelflip",
        redraw=True,
        malicious_fraction=entry.malicious_fraction,
        poison_ratio=entry.poison_ratio,
    )


def in_reduced_form(entry: PublishedCell) -> bool:
    """Whether the reduced form holds ``entry``: IID at the strongest shares, and Dirichlet."""
    shares = (entry.malicious_fraction, entry.poison_ratio)
    few = entry.published is not None and shares in REDUCED_SHARES
    return few if entry.partition == "iid" else entry.partition.startswith("dirichlet")


def study(options: Options) -> Iterator[Cell]:
    """A cell for each one of the study; in the reduced form where there is no GPU."""
    if options.profile != "study":
        return
    if options.settings:
        names = ", ".join("--" + name.replace("_", "-") for name in options.overrides)
        raise PublishedError(
            f"profile study is the study's own experiment: leave out {names}, or choose another "
            "profile"
        )
    reduced = choose_device(options.device).type == "cpu"
    changes = dict(REDUCED) if reduced else {}
    if options.model is not None:
        changes["model"] = options.model
    for entry in read_published(PUBLISHED):
        exact = arm(entry)
        if reduced and not in_reduced_form(entry):
            continue
        if options.dataset not in (Options().dataset, exact.dataset):
            raise PublishedError(
                f"profile study is the study's own experiment, on {exact.dataset}: leave out "
                f"--dataset {options.dataset}, or choose another profile"
            )
        scenario = exact.but(**changes)
        differences = [
            f"{name} {value} instead of {getattr(exact, name)}"
            for name, value in changes.items()
            if value != getattr(exact, name)
        ]
        reported = ", ".join(differences) or None
        if entry.published is None:
            reported = "the study printed no value"
        yield Cell(
            identifier(scenario, preset(entry.arm).but(**PARTITIONS[entry.partition])),
            scenario,
            1,
            published=entry.published,
            reported=reported,
        )


@pytest.mark.cells(function=lambda options: study(options))
def test_study(outcome) -> None:
    """The tail accuracy is the published one, within what runs of a cell differ among them."""
    outcome.check()
