"""What a comparison with a baseline says, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fedcore.harness.baselines.comparison import Arm, Comparison
from fedcore.harness.exact.changes import Change
from fedcore.harness.statistics.portable import (
    ALPHA,
    ARM,
    DIVERGED,
    FEWEST_SEEDS,
    MINIMUM,
    Shift,
)

EXACT_RULE = (
    "rule: on the machine class that recorded it a run repeats its baseline bit for bit, or the "
    "code has changed: any difference fails until --update-baseline records it"
)
STATISTICAL_RULE = (
    "rule: on another machine class it fails where the tail accuracy or the attack success rate of "
    "all arms, of a strategy's arms on one kind of partition or of one arm has shifted, for the "
    f"worse or for the better, by >= {MINIMUM['accuracy']:g} pp ({MINIMUM['asr']:g} pp of a "
    "success rate), or more or fewer runs diverge, "
    f"with p <= {ALPHA:g} after Holm's weighted correction "
    "over all of these (two-sided test of the sum of scores log(1 + |difference| / scale), scales "
    f"as measured between platforms, differences paired by seed, >= {FEWEST_SEEDS} seeds in common)"
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
    yield from _gate(result)
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
        arms = [arm for arm in result.arms if arm.changed and arm.metric == "accuracy"]
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
    if result.shifted and result.tests is not None:
        yield from (shift_line(test, result.arms) for test in result.tests.findings)
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


def _gate(result: Comparison) -> Iterator[str]:
    """Which gate has judged, and what its families came to."""
    if result.exact or result.tests is None or not result.judged:
        return
    tests = result.tests
    scales = ", ".join(f"{name} {scale:.3g}" for name, scale in tests.scales.items())
    yield (
        f"gate of other machine classes, two-sided: {tests.verdict}, {len(tests.findings)} "
        f"findings of {len(tests.tests)} tests (scales in pp: {scales})"
    )
    for family, metric in dict.fromkeys((test.family, test.metric) for test in tests.tests):
        some = [t for t in tests.tests if (t.family, t.metric) == (family, metric)]
        least = min(some, key=lambda test: test.adjusted)
        of = "" if len(some) == 1 else f", the least of {len(some)}"
        yield f"  {shift_line(least, result.arms)}{of}"


def shift_line(test: Shift, arms: Sequence[Arm]) -> str:
    """Direction, name, size and corrected p of ``test``, and how many runs diverged."""
    p = f"p {test.adjusted:.2g} after Holm"
    before, now = test.diverged
    if test.family == DIVERGED:
        return f"{test.direction}: diverged runs {before} -> {now} of {test.pairs}, {p}"
    lost = f", diverged {before} -> {now}" if before or now else ""
    way = test.direction if test.found else "no finding"
    metric = "ASR of " if test.metric == "asr" else ""
    own = [arm for arm in arms if arm.paired.id in test.arms and arm.metric == test.metric]
    if test.family == ARM:
        return f"{way}: {metric}{arm_line(own[0])}{lost}, score {test.score:+.1f}, {p}"
    name = test.name if test.name == "all arms" else f"arms of {test.name}"
    means = {}
    for seed in sorted({seed for arm in own for seed in arm.differences}):
        found = [arm.differences[seed] for arm in own if seed in arm.differences]
        means[seed] = sum(found) / len(found)
    size = "-" if test.size is None else f"{test.size:+.2f} pp"
    score = f"score {test.score:+.1f}"
    return f"{way}: {metric}{name} ({len(own)}), {size}{_seeds(means)}{lost}, {score}, {p}"


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
