from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedcore.harness.claims.claims import ClaimError
from fedcore.harness.claims.files import compact
from fedcore.harness.claims.stored import read_claims

RESULTS = Path(__file__).parents[3] / "benchmark" / "results"


STORED = [p for p in sorted(RESULTS.glob("claims-*.json")) if '"schema": 2' in p.read_text()[:40]]


@pytest.mark.parametrize("path", STORED, ids=lambda p: p.stem)
def test_effects_are_those_of_the_stored_curves(path: Path) -> None:
    stored = read_claims(path)
    assert stored.claims
    for name, claim in stored.claims.items():
        for horizon in claim["horizons"]:
            for row in horizon["rows"]:
                again = stored.effects(name, row["contrast"], row["estimand"], horizon["rounds"])
                count = len(row["values"])
                assert again[:count] == pytest.approx(row["values"], abs=2e-3), row["contrast"]
                assert sum(again[:count]) / count == pytest.approx(row["effect"], abs=1e-3)


def test_an_effect_by_hand_from_curves(tmp_path: Path) -> None:
    accuracies = {"a": [[0.1, 0.5, 0.7, 0.9], [0.2, 0.6, 0.8, 0.8]], "b": [[0.1, 0.4], [0.3, 0.2]]}
    content = {
        "arms": {
            key: {"id": key, "rounds": [1, 2, 3, 4][: len(a[0])], "seeds": dict(enumerate(a))}
            for key, a in accuracies.items()
        },
        "claims": [
            {
                "name": "c",
                "seeds": [0, 1],
                "contrasts": [{"name": "k", "terms": {"drop": [["", "a", 1.0], ["", "b", -1.0]]}}],
            }
        ],
    }
    path = tmp_path / "claims.json"
    path.write_text(compact(content))
    assert json.loads(path.read_text()) == json.loads(json.dumps(content))
    stored = read_claims(path)
    assert stored.arms["a"].level(0, 4) == pytest.approx(80)  # of 0.7 and 0.9
    assert stored.effects("c", "k", "drop", 2) == pytest.approx([10, 40])
    assert stored.effects("c", "k", "drop", 4) == pytest.approx([40, 60])
    with pytest.raises(KeyError):
        stored.effects("c", "other", "drop", 2)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"arms": {"a": {}}, "claims": []}'])
def test_what_holds_no_curves_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "claims.json"
    path.write_text(text)
    with pytest.raises(ClaimError, match=r"claims.json holds no claims with curves"):
        read_claims(path)
    with pytest.raises(ClaimError, match="holds no claims with curves"):
        read_claims(tmp_path / "missing.json")
