"""Hashes are for ever, ids too: both frozen as they were at commit db446b2, before ids changed.

``golden_ids.json`` beside this file holds of every suite and profile the number of cells, a digest
over (id of the cell, `Scenario.id`, `Scenario.hash`) of all, and some of them by name: all where
baselines are recorded. `Scenario.id` has since become longer where a
field had no token: without the tokens of LATER it is what it was. Ids of cells stay as they were.
Profile full trains to convergence since; its cells and claims are held to what they were at the
`FROZEN_ROUNDS` of that commit, and differ from it in nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import test_claims, test_privacy, test_robustness, test_study
from fedcore.harness.suite.options import Options
from fedcore.harness.suite.published import read_published
from fedcore.scenario import Scenario
from fedcore.scenario.presets import PRESETS

GOLDEN = Path(__file__).with_name("golden_ids.json")
BASELINES = Path(test_claims.__file__).with_name("baselines")

#: Fields that had no token at db446b2, of those that the suites, claims and presets set.
LATER = (
    "batchsize",
    "classassignment",
    "evalevery",
    "grayscale",
    "minpartitionsize",
    "normalize",
    "partitionseed",
    "validationfraction",
    "weightdecay",
)

#: Parts, beside those of the default data, that hold what a baseline records.
RECORDED = ("robustness quick bloodmnist", "privacy quick bloodmnist")

Entry = tuple[str, str, str]
FROZEN_ROUNDS = 10
LONGER = (40, 80)


def as_before(name: str) -> str:
    """``name`` without the tokens of fields that had none."""
    later = re.compile(f"({'|'.join(LATER)})[a-z0-9.]+")
    return "-".join(token for token in name.split("-") if not later.fullmatch(token))


def as_it_is(scenario: Scenario) -> Scenario:
    return scenario


def as_frozen(scenario: Scenario) -> Scenario:
    """``scenario`` at the rounds that profile full had, where it trains for longer now."""
    frozen = 8 if scenario.model == "mobilenet_v2" else FROZEN_ROUNDS
    return scenario.but(rounds=frozen) if scenario.rounds in LONGER else scenario


def entry(name: str, scenario: Scenario) -> Entry:
    return name, as_before(scenario.id), scenario.hash


def sessions() -> dict[str, Options]:
    """Options by name: every profile on the default data, quick on another set and model."""
    found = {p: Options(profile=p, device="cpu") for p in ("smoke", "quick", "full", "study")}
    found["quick bloodmnist"] = Options(dataset="bloodmnist", device="cpu")
    found["quick resnet18"] = Options(model="resnet18", device="cpu")
    return found


def entries() -> Iterator[tuple[str, list[Entry]]]:
    """The scenarios of the suites' cells, controls included, of claims and of presets."""
    for session, options in sessions().items():
        suites = {
            "robustness": test_robustness.cells,
            "privacy": test_privacy.cells,
            "study": test_study.study,
        }
        for suite, cells in suites.items():
            if session.startswith("quick ") and suite == "study":
                continue
            made = list(cells(options))
            back = as_frozen if (suite, session) == ("robustness", "full") else as_it_is
            found = [entry(cell.id, back(cell.scenario)) for cell in made]
            some = (back(cell.control) for cell in made if cell.control is not None)
            controls = dict.fromkeys(some)
            found += [entry("control", control) for control in controls]
            if found:
                yield f"{suite} {session}", found
        claims = [] if session.startswith("quick ") else list(test_claims.claims(options))
        if claims:
            terms = [
                entry(claim.name, as_frozen(scenario) if session == "full" else scenario)
                for claim in claims
                for contrast in claim.contrasts
                for scenario, _ in contrast.effect.terms
            ]
            yield f"claims {session}", list(dict.fromkeys(terms))
    exact = [test_study.arm(cell) for cell in read_published(test_study.PUBLISHED)]
    yield "study as published", list(dict.fromkeys(entry("arm", arm) for arm in exact))
    yield "presets", [entry(name, preset.scenario()) for name, preset in PRESETS.items()]


def frozen(found: list[Entry], every: int) -> dict[str, object]:
    """What is kept of ``found``: their number, a digest of all, and one in ``every``."""
    ordered = sorted(found)
    digest = hashlib.sha256("\n".join(map(" ".join, ordered)).encode()).hexdigest()
    return {"count": len(ordered), "digest": digest, "sample": [list(e) for e in ordered[::every]]}


def spacing(name: str) -> int:
    """All of what baselines record, of the rest a few."""
    return 1 if name in ("robustness quick", "privacy quick", *RECORDED) else 25


@pytest.fixture(scope="module")
def now() -> dict[str, list[Entry]]:
    return dict(entries())


def test_no_hash_and_no_id_has_changed(now: dict[str, list[Entry]]) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert list(golden) == list(now)
    for name, found in now.items():
        known = {tuple(sample) for sample in golden[name]["sample"]}
        assert known <= set(found), (name, sorted(known - set(found))[:5])
        assert frozen(found, spacing(name)) == golden[name], name


@pytest.mark.parametrize(
    "path", sorted(BASELINES.glob("*/*.json")), ids=lambda path: path.parent.name
)
def test_recorded_baselines_hold_frozen_scenarios(path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    known = {(name, digest) for part in golden.values() for name, _, digest in part["sample"]}
    cells = json.loads(path.read_text())["cells"]
    assert cells
    for name, cell in cells.items():
        assert Scenario.from_dict(cell["scenario"]).hash == cell["hash"], name
        assert (name, cell["hash"]) in known, name


if __name__ == "__main__":  # only ever to be run again for cells that are new
    lines = [f"{json.dumps(n)}: {json.dumps(frozen(f, spacing(n)))}" for n, f in entries()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
