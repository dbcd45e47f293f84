from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedcore.cli import main
from fedcore.harness.claims.files import compact

ROW: dict[str, Any] = {
    "contrast": "harsh - mild",
    "role": "decides",
    "estimand": "drop",
    "effect": 3.456,
    "sd": 1.0,
    "interval": [1.234, 5.678],
    "together": [None, None],
    "place": "for",
    "rising": ["arm | x rises"],
    "values": [3.456],
}
CLAIM: dict[str, Any] = {
    "name": "claim1",
    "statement": "it costs",
    "rule": "> 1 pp",
    "because": "a reason",
    "definition": "0",
    "subject": "mnist5k",
    "profile": "full",
    "seeds": [0],
    "look": 5,
    "verdict": "undecided",
    "reason": "open: still rising at 40 rounds",
    "needs": "about 120 seeds (harsh - mild, drop)",
    "record": "open",
    "message": "",
    "contrasts": [{"name": "harsh - mild", "confounds": ["lr: 1 vs 2"]}],
    "horizons": [{"rounds": 40, "verdict": "undecided", "reason": "x", "rows": [ROW]}],
    "errors": [],
    "diverged": ["an arm seed 3 in round 9"],
    "unskilled": [],
}
CONTENT: dict[str, Any] = {
    "schema": 2,
    "date": "2026-11-28T04:00:00+00:00",
    "commit": "abc",
    "dirty": False,
    "machine": "here",
    "repeat": "pytest benchmark/test_claims.py",
    "claims": [CLAIM],
    "arms": {},
}


def test_a_page_has_verdicts_rows_and_origin_and_keeps_what_was_written_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "claims-full.json").write_text(compact(CONTENT))
    (tmp_path / "claims-old.json").write_text('{"schema": 1}')
    page = tmp_path / "docs" / "claims.md"
    assert main(["report", str(tmp_path), "--claims", str(page)]) == 0
    assert capsys.readouterr().out == f"written: {page}\n"
    text = page.read_text()
    for line in (
        "## mnist5k, profile full",
        "2026-11-28, commit abc, here. Repeat with `pytest benchmark/test_claims.py`.",
        "| **claim1**: it costs | > 1 pp: a reason | **undecided** | 5 | 40: undecided | open: "
        "still rising at 40 rounds; to decide it: about 120 seeds (harsh - mild, drop) | open |",
        "| 40 | harsh - mild | drop | decides | +3.46 | [+1.23, +5.68] | - | for |",
        "- Not converged at 40 rounds: arm \\| x rises.",
        "- diverged: an arm seed 3 in round 9",
        "Confounded: lr: 1 vs 2.",
        "Of an older rule, without looks and margins, not shown: `claims-old.json`.",
    ):
        assert line in text.splitlines(), line
    page.write_text(text + "\nBy hand.\n")
    main(["report", str(tmp_path), "--claims", str(page)])
    assert page.read_text() == text + "\nBy hand.\n"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1}'])
def test_what_holds_no_claims_is_refused(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "claims.json").write_text(content)
    assert main(["report", str(tmp_path), "--claims", str(tmp_path / "page.md")]) != 0
    told = capsys.readouterr().err
    assert str(tmp_path) in told
    assert not (tmp_path / "page.md").exists()
