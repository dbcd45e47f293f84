"""What a comparison with a baseline says, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fedcore.harness.baselines.comparison import ASR_EFFECT, Arm, Comparison
from fedcore.harness.exact.changes import Change
from fedcore.harness.statistics.noninferiority import ALPHA, FEWEST_SEEDS, MINIMUM_EFFECT, Shifts

EXACT_RULE = (
    "rule: on the machine class that recorded it a run repeats its baseline bit for bit, or the "
    "code has changed: any difference fails until --update-baseline records it"
)
STATISTICAL_RULE = (
    "rule: on another machine class it fails where the tail accuracy of one arm, of a strategy's "
    f"arms or of all arms is worse by more than {MINIMUM_EFFECT:g} pp with p <= {ALPHA:g} after "
    "Holm's correction (one-sided moderated t test of differences paired by seed, >= "
    f"{FEWEST_SEEDS} seeds in common), or where an attack success rate is higher by more than "
    f"{ASR_EFFECT:g} pp by the same test with an error of {ALPHA:g} of its own"
)
_SHOWN = 12


def rule(result: Comparison) -> str:
    """The rule that ``result`` was judged by."""
    return EXACT_RULE if result.exact else STATISTICAL_RULE


def headline(result: Comparison) -> str:
    """How many cells came out how."""
    counts: dict[str, Sequence[str] | Mapping[str, object]] = {
        "unchanged": result.unchanged,
        "changed": result.changed,
        "new": result.new,
        "with too few seeds": result.short,
        "without values": result.unmeasured,
        "redefined": result.redefined,
        "gone": result.gone,
        "not selected": result.unselected,
    }
    return ", ".join(f"{len(found)} {what}" for what, found in counts.items() if found) or "no cell"


def notes(result: Comparison, here: str, codes: tuple[str, str]) -> Iterator[str]:
    """Everything worth knowing that fails nothing.

    ``here`` is this machine's class, ``codes`` the digests of the code that computes, as recorded
    and now.
    """
    if not result.exact and result.judged:
        yield (
            f"recorded on another machine class ({result.recorded_on}; here {here}): numbers may "
            "differ by rounding alone, and are compared statistically; the canaries "
            "(benchmark/test_canaries.py) are what must be equal on every machine"
        )
    if result.changes:
        before, now = codes
        yield (
            f"the code that computes has changed since: {before} -> {now}"
            if before != now
            else f"the code that computes is the one recorded ({now}): this machine does not "
            "repeat its bits, or something has changed that its class does not know of"
        )
    if result.changed and not result.exact:
        yield "changed numbers"
        arms = [arm for arm in result.arms if arm.changed]
        yield from _cut([f"  {arm_line(arm)}" for arm in arms])
    if result.new:
        yield f"new, not judged until --update-baseline records them: {_names(result.new)}"
    for name, count in result.short.items():
        yield (
            f"not judged: {name} has {count} seeds in common with the baseline, "
            f"{1 if result.exact else FEWEST_SEEDS} are needed"
        )
    if result.unmeasured:
        yield f"not judged, they have no values: {_names(result.unmeasured)}"
    if result.gone and not result.complete:
        yield f"no longer in the suite (fails where all cells are selected): {_names(result.gone)}"


def failures(result: Comparison) -> Iterator[str]:
    """Why the comparison fails, a line each, and the rule."""
    if result.changes and result.exact:
        yield from _not_repeated(result.changes)
        yield EXACT_RULE
    if result.lost:
        for metric, arms, tests, effect in (
            ("", result.arms, result.tests, MINIMUM_EFFECT),
            ("ASR of ", result.asr_arms, result.asr_tests, ASR_EFFECT),
        ):
            if tests is not None:
                yield from _worse(metric, arms, tests, effect)
        yield STATISTICAL_RULE
    for name, differences in result.redefined.items():
        yield (
            f"redefined: {name} is now another scenario ({'; '.join(differences)}), which the "
            "recorded numbers say nothing about"
        )
    if result.complete:
        for name, successor in result.gone.items():
            hint = f"; {successor} has the same scenario: was it renamed?" if successor else ""
            yield f"gone: {name} is in the baseline and no longer in the suite{hint}"


def _not_repeated(changes: Sequence[Change]) -> Iterator[str]:
    """A line for every arm: its first seed that differs, and which others do."""
    seeds: dict[str, list[Change]] = {}
    for change in changes:
        seeds.setdefault(change.name, []).append(change)
    for first, *others in seeds.values():
        also = f" (also on seed {', '.join(str(c.seed) for c in others)})" if others else ""
        yield f"not repeated: {first}{also}"


def _worse(metric: str, arms: Sequence[Arm], tests: Shifts, effect: float) -> Iterator[str]:
    """The hypotheses of ``tests`` over ``arms`` that are rejected by more than ``effect``."""
    groups: list[tuple[str, Sequence[Arm]]] = [(f"{metric}all arms", arms)]
    for strategy in tests.strategies:
        own = [arm for arm in arms if arm.strategy == strategy]
        groups.append((f"{metric}arms of {strategy}", own))
    groups += [(arm.name, [arm]) for arm in arms]
    rejected = tests.worse_than(effect)
    for i, (name, members) in enumerate(groups):
        if not rejected[i]:
            continue
        p = f"p {tests.adjusted[i]:.2g} after Holm"
        if i > len(tests.strategies):
            yield f"worse: {metric}{arm_line(members[0])}, {p}"
            continue
        each = [arm.differences for arm in members]
        shared = set.intersection(*(set(found) for found in each))
        means = {s: sum(found[s] for found in each) / len(each) for s in sorted(shared)}
        mean = sum(means.values()) / len(means)
        yield f"worse: {name} ({len(members)}), {mean:+.2f} pp{_seeds(means)}, {p}"
    if rejected.any():
        yield f"here a difference on one seed varies by {float(tests.sd):.2f} pp"


def arm_line(arm: Arm) -> str:
    """Means before and now, and the difference on each seed."""
    found = arm.differences
    before, now = (sum(v[s] for s in found) / len(found) for v in (arm.before, arm.now))
    return f"{arm.name}: {before:.2f} -> {now:.2f} %, {now - before:+.2f} pp{_seeds(found)}"


def _seeds(differences: Mapping[int, float]) -> str:
    return f" (by seed {', '.join(f'{s}: {d:+.2f}' for s, d in differences.items())})"


def _names(names: Sequence[str] | Mapping[str, object]) -> str:
    return ", ".join(_cut(list(names), "and {} more"))


def _cut(lines: list[str], more: str = "  and {} more") -> list[str]:
    """At most `_SHOWN` lines and how many were left out."""
    if len(lines) <= _SHOWN:
        return lines
    return [*lines[:_SHOWN], more.format(len(lines) - _SHOWN)]
