from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from fedcore.harness.reports.explain import explain

pytest_plugins = ["pytester"]

FAILING = """\
fedavg-iid-labelflip-mal30pct-poison50pct: FAIL

  seed    clean    poisoned    drop
------  -------  ----------  ------
     0    93.00       60.00   33.00
     1    92.00       70.00   22.00
     2    94.00       71.00   23.00
clean arm at 15 rounds: flat, its tail rises by +0.00 points in ten rounds [-0.09, 0.09]
attacked arm at 15 rounds: flat, its tail rises by +0.00 points in ten rounds [-0.09, 0.09]

drop 26.00 pp, 90 % interval [21.83, 30.17] over 3 seeds, limit <=8: FAIL
  threshold drop.sample: why drop & <so>

repeat it with:
  pytest benchmark -k "[fedavg-iid-labelflip-mal30pct-poison50pct]\""""


def test_a_failure_in_full(samples: SimpleNamespace) -> None:
    assert explain(samples.suite()[1], "pytest benchmark") == FAILING


def test_an_arm_with_a_short_tail_says_how_many_rounds_it_takes(samples: SimpleNamespace) -> None:
    text = explain(samples.outcome(calm=samples.SHORT), "pytest benchmark")
    assert "clean arm at 15 rounds: the tail is too short for a test, which takes 17 ev" in text


def test_a_void_cell_names_its_control(samples: SimpleNamespace) -> None:
    text = explain(samples.suite()[3], "pytest benchmark")
    assert "VOID (the attack does too little" in text
    assert f"drop of the undefended control {samples.CONTROL.id} 31.00 pp" in text


def test_errors_and_divergence_are_listed(samples: SimpleNamespace) -> None:
    failed = samples.outcome(
        clean=(), errors=("seed 0: first\nsecond",), diverged=("seed 1 in round 3",)
    )
    text = explain(failed, "pytest benchmark")
    assert "errors:\n  - seed 0: first\n    second" in text
    assert "diverged, counted at chance accuracy:\n  - seed 1 in round 3" in text
    assert "no threshold applies" not in text


def test_a_cell_without_thresholds_says_so(samples: SimpleNamespace) -> None:
    assert "no threshold applies to this cell" in explain(samples.outcome(), "pytest benchmark")


def test_pytest_selects_by_the_tokens_of_an_id(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        IDS = ["fednova-dirichlet0.1-labelflip-mal30pct-poison50pct",
               "fednova-dirichlet0.3-labelflip-mal30pct-poison50pct",
               "fednova-dirichlet0.1-labelflip-mal30pct-poison100pct"]

        @pytest.mark.parametrize("i", range(3), ids=IDS)
        def test_it(i):
            pass
        """
    )
    tokens = "fednova and dirichlet0.1 and labelflip and mal30pct and poison50pct"
    result = pytester.runpytest("-k", tokens, "--collect-only", "-q", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*1/3 tests collected*"])


def test_the_control_of_a_targeted_attack_is_named(samples: SimpleNamespace) -> None:
    outcome = samples.outcome(
        ("drop", None, 8), poisoned=(60.0, 60.0, 60.0), asr=(9.0, 9.0, 9.0), **samples.TARGETED
    )
    (gate,) = outcome.gates
    limit = dataclasses.replace(gate.threshold, metric="control_asr")
    outcome = dataclasses.replace(outcome, gates=(dataclasses.replace(gate, threshold=limit),))
    text = explain(outcome, "pytest benchmark")
    assert f"attack success rate on the undefended control {samples.CONTROL.id} 33.00 %" in text
