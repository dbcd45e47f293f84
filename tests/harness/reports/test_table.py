from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from fedcore.harness.reports.rows import row
from fedcore.harness.reports.table import WIDTH, columns, terminal_table

EXPECTED = """\
strategy    partition     attack       mal/poi clean  poisoned drop  ret  ASR n   limit verdict
----------- ------------- ------------ ------- ----- --------- ---- ---- ---- - ------- -------
fedavg      iid           clean              -  93.0         -    -    -    - 3  85..99 pass
fedavg      iid           labelflip      30/50  93.0 67.0+-4.2 26.0 0.72    - 3     <=8 FAIL
trimmedmean pathological2 targetedflip  50/100  93.0 89.2+-1.5  3.8 0.96 99.7 3 asr<=20 FAIL
fednova     dirichlet0.1  labelflip      30/50  93.0 89.2+-1.5  3.8 0.96    - 3 ctl>=50 VOID
with mobilenetv2:
fednova     dirichlet0.1  labelflip      30/50  93.0 89.2+-1.5  3.8 0.96    - 3     <=4 unsure

mal/poi: malicious clients / poisoned share of their samples, %. clean, poisoned: tail accuracy at
15 rounds, %, mean of n seeds; +- half the 90 % interval. drop: percentage points. ret: poisoned /
clean.
targetedflip: 0to8 (source to target class)
5 cells: 1 pass, 2 FAIL, 1 unsure, 1 VOID"""


FLIP = {"attack": "signflip", "malicious_fraction": 0.3}
DOOR = {"attack": "backdoor", "malicious_fraction": 0.3, "poison_ratio": 0.5}


def test_the_table_as_printed(samples: SimpleNamespace) -> None:
    text = terminal_table([row(outcome) for outcome in samples.suite()])
    assert text == EXPECTED
    assert max(map(len, text.splitlines())) <= WIDTH == 100


def test_it_stays_within_the_width_where_every_column_is_at_its_widest(
    samples: SimpleNamespace,
) -> None:
    widest = samples.outcome(
        ("drop", -12.5, -10.5),
        ("asr", None, 12.5),
        clean=(100.0, 100.0, 100.0),
        poisoned=(100.0, 10.0, 50.0),
        asr=(100.0, 100.0, 100.0),
        diverged=tuple(f"a-very-long-name-of-a-scenario-{i} seed 0 in round 3" for i in range(9)),
        strategy="trimmedmean",
        redraw=True,
        **samples.PATHOLOGICAL,
        **samples.TARGETED,
    )
    text = terminal_table([row(widest)])
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "and 4 more" in text
    assert "verdict" in text.splitlines()[0]


def test_the_clean_twins_success_rate_stands_beside_the_attacks(
    samples: SimpleNamespace,
) -> None:
    plain = samples.outcome(("asr", None, 20), asr=(94.0, 94.1, 94.2), **DOOR)
    both = replace(plain, asr_twin=(1.0, 1.2, 1.4))
    assert columns([row(plain)])["ASR"] == ["94.1"]
    cells = [row(both), row(plain)]
    assert columns(cells)["ASR"] == ["94.1 (1.2)", "94.1"]
    text = terminal_table(cells)
    assert "in parentheses that of the clean twin\non the same set." in text
    assert max(map(len, text.splitlines())) <= WIDTH
    old = {key: value for key, value in row(both).items() if key != "asr_twin"}
    assert columns([old])["ASR"] == ["94.1"]  # of a file that was written before


def test_shares_of_an_attack_without_poison(samples: SimpleNamespace) -> None:
    flip = samples.outcome(("drop", 0, 5), poisoned=(90.0, 91.0, 92.0), **FLIP)
    assert columns([row(flip)])["mal/poi"] == ["30/-"]


def test_no_asr_column_where_no_row_has_one(samples: SimpleNamespace) -> None:
    cells = [row(samples.outcome(("clean", 85, 99)))]
    assert "ASR" not in columns(cells)
    assert "ASR" not in terminal_table(cells)


def test_an_attack_shows_its_classes_where_there_are_several_pairs(
    samples: SimpleNamespace,
) -> None:
    other = {**samples.TARGETED, "target_class": 3}
    poisoned = (89.0, 88.5, 90.0)
    cells = [row(samples.outcome(poisoned=poisoned, **t)) for t in (samples.TARGETED, other)]
    assert columns(cells)["attack"] == ["targetedflip0to8", "targetedflip0to3"]


def test_a_cell_with_errors_shows_dashes_and_no_minus_zero(samples: SimpleNamespace) -> None:
    failed = samples.outcome(clean=(), errors=("seed 0: broken",), **samples.LABEL_FLIP)
    same = samples.outcome(poisoned=(93.01, 92.01, 94.01), **samples.LABEL_FLIP)
    table = columns([row(failed), row(same)])
    assert table["clean"][0] is None
    assert table["verdict"][0] == "ERROR"
    assert table["drop"] == [None, "0.0"]


def test_nothing_to_show() -> None:
    assert terminal_table([]) == "no cells"


def test_classes_with_names_are_named_below(samples: SimpleNamespace) -> None:
    names = ("shirt", *map(str, range(1, 8)), "sneaker <8>")
    one = samples.outcome(("asr", None, 20), asr=(99.0, 99.0, 99.0), **samples.TARGETED)
    other = samples.outcome(
        ("asr", None, 20), asr=(99.0, 99.0, 99.0), **{**samples.TARGETED, "target_class": 3}
    )
    cells = [row(replace(outcome, class_names=names)) for outcome in (one, other)]
    assert cells[0]["class_names"] == list(names)
    assert "targetedflip: 0 (shirt) to 8 (sneaker <8>), source to target" in terminal_table(
        cells[:1]
    )
    both = terminal_table(cells)
    assert "targetedflip: 0 (shirt) to 8 (sneaker <8>), source to target" in both
    assert "targetedflip: 0 (shirt) to 3, source to target" in both


def test_notes_on_data_stand_below_once(samples: SimpleNamespace) -> None:
    clean = replace(samples.outcome(("clean", 85, 99)), data_notes=("3 files skipped: 3 .txt",))
    text = terminal_table([row(clean), row(clean)])
    assert text.count("data: 3 files skipped: 3 .txt") == 1
    other = row(clean)
    other["scenario"]["dataset"] = "breastmnist"
    text = terminal_table([row(clean), other])
    for name in ("mnist5k", "breastmnist"):
        assert text.count(f"data, {name}: 3 files skipped: 3 .txt") == 1


def test_results_of_before_there_were_names_are_shown(samples: SimpleNamespace) -> None:
    cell = row(samples.outcome(("asr", None, 20), asr=(99.0, 99.0, 99.0), **samples.TARGETED))
    del cell["class_names"], cell["data_notes"]
    assert "targetedflip: 0to8 (source to target class)" in terminal_table([cell])
