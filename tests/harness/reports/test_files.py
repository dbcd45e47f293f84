from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedcore.errors import StoreError
from fedcore.harness.reports import files as report

FILES = ["results.json", "results.csv", "report.md", "report.html", "results.tex"]
REPEAT = "pytest benchmark --profile=quick"


@pytest.fixture
def written(samples: SimpleNamespace, tmp_path: Path) -> Path:
    report.write_reports(samples.suite(), tmp_path / "new" / "r", repeat=REPEAT)
    return tmp_path / "new" / "r"


def test_all_files_are_written_and_no_other(samples: SimpleNamespace, tmp_path: Path) -> None:
    paths = report.write_reports(samples.suite(), tmp_path, repeat=REPEAT)
    expected = [tmp_path / name for name in [*FILES, "figures/drop.png"]]
    assert paths == expected
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(expected)
    assert paths[-1].read_bytes().startswith(b"\x89PNG")


def test_results_round_trip(samples: SimpleNamespace, written: Path) -> None:
    content = report.read_results(written)
    fresh = report.document(samples.suite(), repeat=REPEAT)
    assert {**content, "date": ""} == {**fresh, "date": ""}
    assert content["repeat"] == REPEAT
    assert len(content["provenance"]["code"]) == 16


def test_what_is_rendered_again_is_the_same(written: Path, tmp_path: Path) -> None:
    again = report.render(report.read_results(written), tmp_path / "again")
    for path in again:
        assert path.read_bytes() == (written / path.relative_to(tmp_path / "again")).read_bytes()


def test_csv_has_full_precision(samples: SimpleNamespace, written: Path) -> None:
    with (written / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["verdict"] for line in lines] == ["pass", "FAIL", "FAIL", "VOID", "unsure"]
    outcome = samples.suite()[1]
    spread = outcome.spread(outcome.drop)
    assert float(lines[1]["drop_low"]) == spread.low
    assert lines[1]["poisoned_values"] == "60.0 70.0 71.0"
    assert (lines[0]["drop_mean"], lines[0]["attack"]) == ("", "")
    assert (lines[3]["strategy"], lines[3]["alpha"]) == ("fednova", "0.1")


def test_csv_has_the_clean_twins_success_rate_where_it_is_measured(
    samples: SimpleNamespace, tmp_path: Path
) -> None:
    plain = samples.outcome(asr=(94.0, 94.1, 94.2), **samples.TARGETED)
    both = replace(plain, asr_twin=(1.0, 1.2, 1.4))
    for outcomes in ([plain], [plain, both]):
        report.write_reports(outcomes, tmp_path, repeat=REPEAT)
        with (tmp_path / "results.csv").open(newline="") as file:
            *_, line = csv.DictReader(file)
        assert ("asr_twin_values" in line) == (both in outcomes)
    assert line["asr_twin_values"] == "1.0 1.2 1.4"
    assert float(line["asr_twin_mean"]) == pytest.approx(1.2)


def test_markdown_says_what_fell_short_and_how_to_repeat_it(written: Path) -> None:
    text = (written / "report.md").read_text()
    assert "| fedavg      | iid           | labelflip    |" in text
    assert "### fedavg-iid-labelflip-mal30pct-poison50pct" in text
    assert "### fedavg-iid-clean" not in text
    assert "- `drop.sample` <=4: why drop & <so>" in text
    assert f"```console\n$ {REPEAT}\n```" in text
    assert "![Drop by cell](figures/drop.png)" in text


def test_html_is_one_file_and_escaped(written: Path) -> None:
    text = (written / "report.html").read_text()
    assert "why drop &amp; &lt;so&gt;" in text
    assert "<so>" not in text
    assert '<span class="FAIL">FAIL</span>' in text
    assert 'src="data:image/png;base64,' in text
    assert "http" not in text.lower().replace("<!doctype html>", "")


def test_latex_has_signs_in_place_of_two_characters(written: Path) -> None:
    text = (written / "results.tex").read_text()
    assert r"67.0$\pm$4.2" in text
    assert r"$\leq$8" in text
    assert text.rstrip().endswith(r"\end{tabular}")
    assert "+-" not in text.split(r"\toprule")[1]


def test_without_matplotlib_the_report_says_so(
    samples: SimpleNamespace, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    paths = report.write_reports(samples.suite(), written, repeat=REPEAT)
    assert [path.name for path in paths] == FILES
    assert "figures are left out" in (written / "report.md").read_text()
    assert not (written / "figures" / "drop.png").exists()


def test_no_attack_no_figure(samples: SimpleNamespace, tmp_path: Path) -> None:
    paths = report.write_reports([samples.outcome(("clean", 85, 99))], tmp_path, repeat=REPEAT)
    assert [path.name for path in paths] == FILES
    assert "What does not hold" not in (tmp_path / "report.md").read_text()


def test_no_timings_are_reported(written: Path) -> None:
    assert "seconds" not in (written / "results.json").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "holds no results"),
        ("[]", "holds no results"),
        ('{"schema": 99}', "has schema 99"),
    ],
)
def test_results_that_cannot_be_read(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        report.read_results(tmp_path)


def test_a_damaged_document_is_refused(written: Path) -> None:
    content = report.read_results(written)
    del content["cells"][0]["estimates"]
    (written / "results.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match=r"results.json is damaged: KeyError\('estimates'\)"):
        report.render_again(written, written)


def test_a_place_that_cannot_be_written(samples: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        report.write_reports(samples.suite(), tmp_path / "file", repeat=REPEAT)
