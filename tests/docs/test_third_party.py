"""A package of somebody else beside the wheel of fedcore: nothing of fedcore is edited.

The package is the one that the pages of docs/extend show: an attack, a defence, a pre-aggregation,
a model and a data set, each with a parameter that its suite sets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.acme import Acme, installed_acme

SHIFTED = {
    "fedavg-iid-acmeshift-mal30pct-poison100pct-by3",
    "acmecliptomedian-iid-acmeshift-mal30pct-poison100pct-by3-factor0.8",
    "median-iid-acmeshift-mal30pct-poison100pct-by3-pre.acmetopk.share0.1.sha6d376d88",
    "fedavg-iid-acmeshift-mal30pct-poison100pct-by3-acmestripes-acmetinycnn-samples400-width4",
}
BUILT_IN = {"fedavg-iid-clean", "fedavg-iid-labelflip-mal30pct-poison100pct"}
CELLS, RUNS = 12, 24
FOREIGN = ("attack", "dataset", "model", "preaggregation", "strategy")


@pytest.fixture(scope="module")
def acme(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Acme:
    return installed_acme(tmp_path_factory.mktemp("acme"), wheel)


def foreign(record: Any) -> set[str]:
    """Kinds of the components in ``record`` that are not fedcore's, each with a digest."""
    named = [(what.partition(" ")[0], digest) for what, digest in record["provenance"]["foreign"]]
    assert all(len(digest) == 16 for _, digest in named)
    return {kind for kind, _ in named}


def expected_kinds(scenario: Any) -> set[str]:
    return {kind for kind in FOREIGN if "acme/" in str(scenario.get(kind))}


@pytest.mark.slow
def test_a_package_of_somebody_else(acme: Acme) -> None:
    """On two workers, under pytest-xdist, from the store, and by default once it is edited."""
    assert Path(acme.newcomer.output("import fedcore; print(fedcore.__file__)")).is_relative_to(
        acme.newcomer.site
    )
    assert Path(acme.newcomer.output("import acme; print(acme.__file__)")).is_relative_to(
        acme.newcomer.site
    )
    first = acme.pytest("--fedcore-jobs=2")
    assert first.status == 0, first.text
    assert first.runs == (0, RUNS)
    assert len(first.cells) == CELLS
    assert set(first.cells) > BUILT_IN
    assert set(first.cells) > SHIFTED
    assert all(cell["verdict"] == "no limit" for cell in first.cells.values())
    assert all(len(values["clean"]) == 2 for values in first.numbers.values())

    records = acme.records()
    assert len(records) == RUNS
    for record in records:
        kinds = foreign(record)
        assert kinds == expected_kinds(record["scenario"])
        assert (["acme-fl", "1.0"] in record["provenance"]["versions"]) == bool(kinds)
    assert set().union(*map(foreign, records)) == set(FOREIGN)

    spread = acme.pytest("-n2", results="spread")
    assert spread.status == 0, spread.text
    assert "created: 2/2 workers" in spread.text
    assert spread.numbers == first.numbers

    again = acme.pytest()
    assert (again.status, again.runs) == (0, (RUNS, 0)), again.text
    assert again.numbers == first.numbers

    acme.edit("acme/attacks.py", "(labels + self.by)", "(labels + self.by + 2)")
    acme.install()
    edited = acme.pytest()
    own = 2 * len(BUILT_IN)  # their runs know nothing of the package
    assert (edited.status, edited.runs) == (0, (own, RUNS - own)), edited.text
    changed = {name for name in first.cells if edited.numbers[name] != first.numbers[name]}
    assert changed
    assert changed <= SHIFTED
