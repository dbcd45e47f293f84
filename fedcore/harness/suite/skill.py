"""Skill: how far a run got from guessing, whatever the shares of the classes.

Where one class makes up 73 % of a test set, a model that names it for every image has an accuracy
of 73 % and has learned nothing; what poison takes from it says nothing either.
"""

from __future__ import annotations

from fedcore.records.record import Record, tail_mean

#: Mean skill below which an arm of a claim counts as one that has learned nothing.
LEARNS = 0.05


def tail_skill(record: Record) -> float | None:
    """Balanced accuracy of the tail between guessing, 0, and no error, 1: (b - 1/C) / (1 - 1/C).

    b is the mean recall of the C classes that the test set holds (Brodersen, Ong, Stephan and
    Buhmann 2010, "The Balanced Accuracy and Its Posterior Distribution"), averaged over the rounds
    of the tail accuracy. A constant answer has skill 0; below it is worse than guessing. None for
    a test set of a single class: there is nothing to tell apart, so skill cannot be measured.
    """
    rows = [_skill(row) for row in record.recall]
    known = tuple(value for value in rows if value is not None)
    return tail_mean(known) if len(known) == len(rows) else None


def tail_balanced(record: Record) -> float | None:
    """Balanced accuracy of the tail, in [0, 1]: the mean of `tail_recalls`; None without any."""
    known = tail_recalls(record)
    return sum(known) / len(known) if known else None


def tail_worst(record: Record) -> float | None:
    """The least of `tail_recalls`: the recall of the class that the tail serves worst.

    Of the classes' means over the tail, not the mean of each round's least: that would be below any
    class's recall where rounds are noisy.
    """
    return min(tail_recalls(record), default=None)


def tail_recalls(record: Record) -> tuple[float, ...]:
    """Recall of each class that the test set holds, as the mean over the rounds of the tail."""
    columns = [[v for v in column if v is not None] for column in zip(*record.recall, strict=True)]
    return tuple(tail_mean(tuple(known)) for known in columns if len(known) == len(record.recall))


def _skill(recall: tuple[float | None, ...]) -> float | None:
    present = [value for value in recall if value is not None]
    if len(present) < 2:
        return None
    chance = 1 / len(present)
    return (sum(present) * chance - chance) / (1 - chance)
