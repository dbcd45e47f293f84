from __future__ import annotations

from pathlib import Path

import pytest

from fedcore import Scenario
from fedcore.harness.claims.claims import Claim, ClaimError, ClaimVerdict
from fedcore.harness.claims.contrasts import costs
from fedcore.harness.claims.judging import ClaimOutcome
from fedcore.harness.claims.records import RecordedClaim, agreement, read_records, subject
from fedcore.harness.suite.options import Options

POISONED = Scenario(attack="labelflip", malicious_fraction=0.3, poison_ratio=0.5)
CLAIM = Claim("it-costs", "poisoning costs accuracy", (costs("drop", POISONED),), 10)
TABLE = """
["mnist5k".quick."it-costs"]
verdict = "supported"
seeds = 10
look = 10
horizons = "40, 80"
definition = "0123456789ab"
reason = "measured"
date = "2026-01-31"
machine = "here"
commit = "0123456789abcdef"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "claims.toml"
    path.write_text(text)
    return path


def recorded(verdict: str, seeds: int = 10, machine: str = "here") -> RecordedClaim:
    return RecordedClaim(
        verdict, 20, CLAIM.definition, "measured", "2026-01-31", machine, "abc", seeds, "10"
    )


def outcome(verdict: ClaimVerdict, seeds: int = 10) -> ClaimOutcome:
    errors = ("no memory",) if verdict is ClaimVerdict.ERROR else ()
    return ClaimOutcome(CLAIM, tuple(range(20)), seeds, (), verdict, "reason", errors, ())


def test_records_are_found_by_subject_profile_and_claim(tmp_path: Path) -> None:
    found = read_records(write(tmp_path, TABLE))
    assert list(found) == [("mnist5k", "quick", "it-costs")]
    assert found["mnist5k", "quick", "it-costs"] == RecordedClaim(
        "supported", 10, "0123456789ab", "measured", "2026-01-31", "here", "0123456789abcdef",
        10, "40, 80",
    )  # fmt: skip
    assert read_records(write(tmp_path, "# none yet\n")) == {}
    assert subject(Options(dataset="bloodmnist")) == "bloodmnist"
    assert subject(Options(model="mlp")) == "mnist5k mlp"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"supported"',
            '"true"',
            "verdict must be one of supported, refuted, equivalent, undecided, got",
        ),
        ('"supported"', '"ERROR"', "verdict must be one of"),
        ('"measured"', '""', "reason must be a text that is not empty, got ''"),
        ("seeds = 10", 'seeds = "10"', "seeds must be an integer, got '10'"),
        ("seeds = 10", "seeds = true", "seeds must be an integer"),
        ("seeds = 10\n", "", "must hold verdict, seeds, definition"),
        ("seeds", "sedes", "must hold verdict, seeds, definition"),
        (".quick.", ".quik.", r"\[mnist5k.quik\]: a profile is one of smoke, quick"),
        ('["mnist5k".quick."it-costs"]', "", "must hold tables, got 'supported'"),
        ("verdict =", "verdict", "claims.toml: "),
    ],
)
def test_what_is_no_record_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ClaimError, match=message) as info:
        read_records(write(tmp_path, TABLE.replace(old, new)))
    assert str(tmp_path) in str(info.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClaimError, match="No such file"):
        read_records(tmp_path / "claims.toml")


@pytest.mark.parametrize(
    ("found", "seeds", "record", "status"),
    [
        (ClaimVerdict.SUPPORTED, 10, recorded("supported"), "as recorded"),
        (ClaimVerdict.SUPPORTED, 3, recorded("supported", machine="there"), "as recorded"),
        (ClaimVerdict.SUPPORTED, 10, None, "open"),
        (ClaimVerdict.ERROR, 10, None, "CHANGED"),
        (ClaimVerdict.ERROR, 10, recorded("supported"), "CHANGED"),
        (ClaimVerdict.UNDECIDED, 10, recorded("supported"), "CHANGED"),
        (ClaimVerdict.SUPPORTED, 10, recorded("undecided"), "CHANGED"),
        (ClaimVerdict.UNDECIDED, 3, recorded("supported"), "unsure"),
        (ClaimVerdict.UNDECIDED, 10, recorded("refuted", machine="there"), "unsure"),
        (ClaimVerdict.REFUTED, 20, recorded("undecided"), "unsure"),
        (ClaimVerdict.REFUTED, 3, recorded("supported"), "CHANGED"),
        (ClaimVerdict.EQUIVALENT, 3, recorded("supported"), "CHANGED"),
        (ClaimVerdict.EQUIVALENT, 20, recorded("undecided"), "unsure"),
        (ClaimVerdict.EQUIVALENT, 10, recorded("equivalent", machine="there"), "as recorded"),
        (ClaimVerdict.REFUTED, 10, recorded("supported", machine="there"), "CHANGED"),
    ],
)
def test_agreement(
    found: ClaimVerdict, seeds: int, record: RecordedClaim | None, status: str
) -> None:
    result = agreement(outcome(found, seeds), record, "here")
    assert result.status == status
    assert "it-costs" in result.message


def test_a_record_of_before_there_were_looks_is_read(tmp_path: Path) -> None:
    text = TABLE.replace("look = 10\n", "").replace('horizons = "40, 80"\n', "")
    (old,) = read_records(write(tmp_path, text)).values()
    assert (old.look, old.horizons) == (0, "")
    assert (
        "with 10 seeds, without looks"
        in agreement(outcome(ClaimVerdict.REFUTED), old, "here").message
    )


def test_a_record_of_another_definition_has_to_be_made_again() -> None:
    old = RecordedClaim("supported", 10, "0" * 12, "measured", "2026-01-31", "here", "abc")
    result = agreement(outcome(ClaimVerdict.SUPPORTED), old, "here")
    assert result.status == "CHANGED"
    assert f"definition {'0' * 12}, now {CLAIM.definition}): record it again" in result.message
