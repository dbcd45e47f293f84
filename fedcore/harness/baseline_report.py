"""What a comparison with a baseline says, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fedcore.harness.baseline import Arm, Comparison
from fedcore.harness.noninferiority import ALPHA, FEWEST_SEEDS, MINIMUM_EFFECT

RULE = (
    f"rule: fails where the tail accuracy of one arm, of a strategy's arms or of all arms is worse "
    f"by more than {MINIMUM_EFFECT:g} pp with p <= {ALPHA:g} after Holm's correction (one-sided "
    f"moderated t test of differences paired by seed, >= {FEWEST_SEEDS} seeds in common)"
)
_SHOWN = 12


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


def notes(result: Comparison, here: str) -> Iterator[str]:
    """Everything worth knowing that fails nothing. ``here`` is this machine's fingerprint."""
    for there in result.foreign:
        yield (
            f"recorded on another machine class or version ({there}; here {here}): numbers may "
            "differ by rounding alone, and are compared statistically"
        )
    if result.changed:
        why = "" if result.foreign else ": same machine, same seeds, so the code has changed them"
        yield f"changed numbers{why}"
        yield from _cut([f"  {arm_line(arm)}" for arm in result.arms if arm.changed])
    if result.new:
        yield f"new, not judged until --update-baseline records them: {_names(result.new)}"
    for name, count in result.short.items():
        yield (
            f"not judged: {name} has {count} seeds in common with the baseline, "
            f"{FEWEST_SEEDS} are needed"
        )
    if result.unmeasured:
        yield f"not judged, they have no values: {_names(result.unmeasured)}"
    if result.gone and not result.complete:
        yield f"no longer in the suite (fails where all cells are selected): {_names(result.gone)}"


def failures(result: Comparison) -> Iterator[str]:
    """Why the comparison fails, a line each, and the rule."""
    if result.tests is not None and result.tests.worse.any():
        tests = result.tests
        groups = [("all arms", result.arms)]
        for strategy in tests.strategies:
            members = [arm for arm in result.arms if arm.strategy == strategy]
            groups.append((f"arms of {strategy}", members))
        groups += [(arm.name, [arm]) for arm in result.arms]
        for i, (name, members) in enumerate(groups):
            if not tests.worse[i]:
                continue
            p = f"p {tests.adjusted[i]:.2g} after Holm"
            if i > len(tests.strategies):
                yield f"worse: {arm_line(members[0])}, {p}"
                continue
            each = [arm.differences for arm in members]
            shared = set.intersection(*(set(found) for found in each))
            means = {s: sum(found[s] for found in each) / len(each) for s in sorted(shared)}
            yield f"worse: {name} ({len(members)}), {tests.mean[i]:+.2f} pp{_seeds(means)}, {p}"
        yield f"{RULE}; here a difference on one seed varies by {float(tests.sd):.2f} pp"
    for name, differences in result.redefined.items():
        yield (
            f"redefined: {name} is now another scenario ({'; '.join(differences)}), which the "
            "recorded numbers say nothing about"
        )
    if result.complete:
        for name, successor in result.gone.items():
            hint = f"; {successor} has the same scenario: was it renamed?" if successor else ""
            yield f"gone: {name} is in the baseline and no longer in the suite{hint}"


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
