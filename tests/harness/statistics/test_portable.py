"""The gate for sessions of different machines: families, both directions, diverged runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import pytest

from fedcore.harness.statistics.portable import (
    ALL,
    ALPHA,
    ARM,
    DIVERGED,
    GROUP,
    MINIMUM,
    Comparison,
    Families,
    PairedArm,
    compare_sessions,
    shifts,
    sign_test,
)

SCALES = {"iid": 0.2, "dirichlet": 0.7, "asr": 2.0}
QUIET = (0.1, -0.05, 0.02, -0.15, 0.08)


def arms(
    shift: float = 0.0, of: Iterable[str] = ("fedavg", "fednova"), seeds: int = 3
) -> list[PairedArm]:
    """12 arms of two strategies on two strata; those of ``of`` have moved by ``shift``."""
    result = []
    for i in range(12):
        strategy, stratum = ("fedavg", "fednova")[i % 2], ("iid", "dirichlet")[i // 2 % 2]
        moved = shift if strategy in of else 0.0
        noise = {s: QUIET[(i + s) % 5] + moved for s in range(seeds)}
        result.append(PairedArm(f"arm{i}", strategy, stratum, noise))
    return result


def families(found: Comparison) -> set[tuple[str, str, str]]:
    return {(t.family, t.name, t.direction) for t in found.findings}


def test_nothing_is_found_where_nothing_has_changed() -> None:
    found = compare_sessions(arms(), SCALES)
    assert (found.verdict, found.findings) == ("unchanged", ())
    assert [t.family for t in found.tests] == [ALL] + [GROUP] * 4 + [ARM] * 12 + [DIVERGED]
    assert found.scales == {"iid": 0.2, "dirichlet": 0.7}


@pytest.mark.parametrize(("sign", "verdict"), [(-1, "worse"), (1, "better")])
def test_a_shift_of_all_arms_is_as_loud_either_way(sign: int, verdict: str) -> None:
    found = compare_sessions(arms(sign * 1.5), SCALES)
    assert found.verdict == verdict
    assert (ALL, ALL, verdict) in families(found)
    mirrored = compare_sessions(arms(-sign * 1.5), SCALES)
    assert len(mirrored.findings) == len(found.findings)  # the noise is not mirrored: near enough
    all_arms = found.tests[0]
    assert all_arms.size == pytest.approx(sign * 1.5, abs=0.1)
    assert (all_arms.pairs, len(all_arms.arms), all_arms.diverged) == (36, 12, (0, 0))
    assert math.copysign(1, all_arms.score) == sign


def test_both_ways_at_once_are_mixed() -> None:
    up, down = arms(3.0, ["fedavg"]), arms(-3.0, ["fednova"])
    both = [up[i] if i % 2 == 0 else down[i] for i in range(12)]
    found = compare_sessions(both, SCALES)
    assert found.verdict == "mixed"
    assert (GROUP, "fedavg, iid", "better") in families(found)
    assert (GROUP, "fednova, iid", "worse") in families(found)


def test_an_arm_of_its_own_is_found() -> None:
    one = arms(seeds=5)
    moved = {s: d - 12.0 for s, d in one[4].differences.items()}
    one[4] = dataclasses.replace(one[4], differences=moved)
    found = compare_sessions(one, SCALES)
    assert (ARM, "arm4", "worse") in families(found)
    assert (ALL, ALL, "worse") not in families(found)


def test_every_stratum_has_its_own_scale() -> None:
    """1.5 points are much on IID and within noise on Dirichlet: swapped, both come out wrong."""
    iid = [PairedArm(f"i{i}", "fedavg", "iid", {0: -1.4, 1: -1.6, 2: -1.5}) for i in range(3)]
    skewed = [dataclasses.replace(arm, stratum="dirichlet") for arm in iid]
    assert compare_sessions(iid, SCALES).verdict == "worse"
    assert compare_sessions(skewed, SCALES).verdict == "unchanged"
    # a stratum that was never measured has the widest scale of all
    unknown = [dataclasses.replace(arm, stratum="pathological") for arm in iid]
    found = compare_sessions(unknown, SCALES)
    assert (found.verdict, found.scales) == ("unchanged", {"pathological": 2.0})


def test_weights_by_hand() -> None:
    names = [(f"a{i}", "x" if i < 3 else "y", "iid", "accuracy") for i in range(4)]
    names.append(("t", "x", "asr", "asr"))
    made = Families.of(names)
    kinds = [kind[0] for kind in made.kinds]
    total = 0.85 + 0.15 + 0.05
    # all arms, two groups, four arms; all, one group, one arm of the success rate; diverged runs
    expected = [0.85 * w for w in (0.2, 0.25, 0.25, *[0.075] * 4)]
    expected += [0.15 * w for w in (0.2, 0.5, 0.3)] + [0.05]
    assert made.weights == pytest.approx(np.array(expected) / total)
    assert made.weights.sum() == pytest.approx(1)
    assert kinds == [ALL, GROUP, GROUP, *[ARM] * 4, ALL, GROUP, ARM, DIVERGED]


def test_p_is_corrected_with_the_weights_of_the_families() -> None:
    """A few arms among many keep their power: equal weights would ask 1 / 18 of each test."""
    found = compare_sessions(arms(-0.6, ["fednova"]), SCALES)
    least = min(found.tests, key=lambda t: t.adjusted)
    weights = Families.of([(a.id, a.strategy, a.stratum, a.metric) for a in arms()]).weights
    place = found.tests.index(least)
    assert least.adjusted == pytest.approx(least.p / weights[place])
    assert weights[place] > 1.5 / len(weights)


def lost(count: int, of: list[PairedArm], **changes: frozenset[int]) -> list[PairedArm]:
    """The first ``count`` arms diverged now on every seed, and count at chance."""
    return [
        dataclasses.replace(
            arm,
            differences=dict.fromkeys(arm.differences, -75.0),
            diverged_now=frozenset(arm.differences),
        )
        if i < count
        else arm
        for i, arm in enumerate(of)
    ]


def test_runs_that_diverge_are_not_left_out() -> None:
    found = compare_sessions(lost(1, arms()), SCALES)
    assert found.verdict == "worse"
    assert (ARM, "arm0", "worse") in families(found)
    one = next(t for t in found.tests if t.name == "arm0")
    assert (one.diverged, one.size, one.pairs) == ((0, 3), -75, 3)
    counted = found.tests[-1]
    assert (counted.family, counted.diverged, counted.direction) == (DIVERGED, (0, 3), "worse")
    # whatever the accuracy that chance is worth: an arm near chance diverges as well
    near = [dataclasses.replace(a, differences=dict.fromkeys(a.differences, -0.1))
            if a.id == "arm0" else a for a in lost(1, arms())]  # fmt: skip
    assert (ARM, "arm0", "worse") in families(compare_sessions(near, SCALES))


def test_many_diverged_runs_are_a_finding_of_their_own() -> None:
    found = compare_sessions(lost(4, arms()), SCALES)
    counted = found.tests[-1]
    assert counted.p == pytest.approx(2 * 0.5**12)
    assert counted.diverged == (0, 12)
    assert (counted.size, counted.mean, counted.direction) == (-12, -12, "worse")
    back = [dataclasses.replace(a, diverged_now=frozenset(), diverged_before=a.diverged_now,
                                differences={s: -d for s, d in a.differences.items()})
            for a in lost(4, arms())]  # fmt: skip
    better = compare_sessions(back, SCALES)
    assert (better.verdict, better.tests[-1].diverged) == ("better", (12, 0))


def test_runs_that_diverge_on_both_sides_are_no_change() -> None:
    both = [dataclasses.replace(a, differences=dict.fromkeys(a.differences, 0.0),
                                diverged_before=a.diverged_now)
            for a in lost(12, arms())]  # fmt: skip
    found = compare_sessions(both, SCALES)
    assert (found.verdict, found.tests[0].diverged) == ("unchanged", (36, 36))


def test_a_session_that_diverges_now_and_then_on_both_sides_allows_for_it() -> None:
    """Two of three seeds of an arm that diverge are a finding, but not where others do so too."""

    def session(other: int) -> list[PairedArm]:
        made = arms()
        for i in range(12):
            before = frozenset({0}) if 0 < i <= other else frozenset()
            now = frozenset({1}) if 0 < i <= other else frozenset()
            if i == 0:
                now = frozenset({0, 1, 2})
            moved = {s: -75.0 * (s in now) + 75.0 * (s in before) for s in range(3)}
            changed = moved if before or now else made[i].differences
            made[i] = dataclasses.replace(
                made[i], differences=changed, diverged_before=before, diverged_now=now
            )
        return made

    assert (ARM, "arm0", "worse") in families(compare_sessions(session(0), SCALES))
    assert (ARM, "arm0", "worse") not in families(compare_sessions(session(11), SCALES))


def test_the_success_rate_has_tests_of_its_own_and_a_rise_is_worse() -> None:
    targeted = [PairedArm(f"ASR {i}", "fedavg", "asr", dict.fromkeys(range(3), 60.0 + i),
                          metric="asr") for i in range(4)]  # fmt: skip
    found = compare_sessions([*arms(), *targeted], SCALES)
    assert found.verdict == "worse"
    assert {t.metric for t in found.findings} == {"asr"}
    assert found.tests[0].pairs == 36  # accuracies alone


def test_shifts_below_the_minimum_are_no_finding() -> None:
    many = [PairedArm(f"a{i}", "fedavg", "iid", dict.fromkeys(range(5), 0.15)) for i in range(400)]
    found = compare_sessions(many, SCALES)
    assert found.tests[0].adjusted < ALPHA
    assert not found.findings
    wider = [dataclasses.replace(a, differences=dict.fromkeys(range(5), 0.25)) for a in many]
    assert compare_sessions(wider, SCALES).verdict == "better"
    assert MINIMUM["accuracy"] == 0.2


def test_seeds_that_one_side_lacks_and_arms_with_one_seed() -> None:
    some = [PairedArm("a", "x", "iid", {0: -5.0, 1: -5.0, 2: -5.0}),
            PairedArm("b", "x", "iid", {1: -5.0, 4: -5.0}),
            PairedArm("c", "x", "iid", {3: -90.0})]  # fmt: skip
    found = compare_sessions(some, SCALES)
    assert found.tests[0].pairs == 5
    assert found.tests[0].size == pytest.approx(-5)
    alone = next(t for t in found.tests if t.name == "c")
    assert (alone.p, alone.size, alone.pairs, alone.found) == (1.0, None, 0, False)


def test_sessions_judged_at_once_are_judged_as_each_alone() -> None:
    made = arms()
    known = Families.of([(a.id, a.strategy, a.stratum, a.metric) for a in made])
    rng = np.random.default_rng(0)
    differences = rng.standard_cauchy((20, 12, 3))
    differences[:, 3, 1] = np.nan
    broken = rng.choice([0, 0, 0, 0, -1, 1], (20, 12, 3))
    each = np.array([SCALES[a.stratum] for a in made])
    together = shifts(known, differences, broken, each)
    for i in range(20):
        alone = compare_sessions(
            [dataclasses.replace(
                arm,
                differences={s: d for s, d in enumerate(differences[i, k]) if not math.isnan(d)},
                diverged_before=frozenset(np.flatnonzero(broken[i, k] == 1).tolist()),
                diverged_now=frozenset(np.flatnonzero(broken[i, k] == -1).tolist()),
            ) for k, arm in enumerate(made)], SCALES,
        )  # fmt: skip
        assert [t.adjusted for t in alone.tests] == pytest.approx(together.adjusted[i].tolist())
        assert [t.found for t in alone.tests] == together.found[i].tolist()


def test_the_sign_test_by_hand() -> None:
    found = sign_test(np.array([0, 5, 3, 1]), np.array([0, 0, 3, 4]))
    assert found == pytest.approx([1, 2 / 32, 1, 2 * 6 / 32])


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="0 arms and 3 scales"):
        compare_sessions([], SCALES)
    with pytest.raises(ValueError, match="1 arms and 0 scales"):
        compare_sessions(arms()[:1], {})
    with pytest.raises(ValueError, match="metric must be one of accuracy, asr, got 'loss'"):
        compare_sessions([dataclasses.replace(arms()[0], metric="loss")], SCALES)
