"""What can go wrong, as types: every message states the rule, the value and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class FedcoreError(Exception):
    """Base of all errors that fedcore raises on purpose."""


class ScenarioError(FedcoreError, ValueError):
    """A scenario breaks one or more rules; ``problems`` lists every one of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count > 1 else ''} in this scenario:\n{lines}")


class UnknownNameError(FedcoreError, ValueError):
    """A name that nothing is registered under; ``notes`` says what may be missing for a reason."""

    def __init__(
        self, kind: str, name: object, known: Iterable[str], notes: Sequence[str] = ()
    ) -> None:
        self.kind, self.name = kind, name
        super().__init__(" ".join([unknown_name(kind, name, known), *(f"{n}." for n in notes)]))


class RegistrationError(FedcoreError, ValueError):
    """A component that cannot be registered or found: a name taken, a module that is not there."""


class DataError(FedcoreError, ValueError):
    """A data set that is missing, damaged or outside what a model can take."""


class ModelError(FedcoreError, ValueError):
    """A model that cannot be built, or weights that do not fit it."""


class PartitionError(FedcoreError, ValueError):
    """A partition that leaves clients empty or drops classes without having been asked to."""


class AttackError(FedcoreError, ValueError):
    """An attack that changed nothing, or cannot apply to the data at hand."""


class PrivacyError(FedcoreError, ValueError):
    """A privacy mechanism that cannot do what it promises: no head, no budget, no Opacus."""


class IdentityError(FedcoreError, RuntimeError):
    """An arm whose result shows that it is not the algorithm it is named after."""


class StoreError(FedcoreError, RuntimeError):
    """A stored record that cannot be read, or a place that cannot be written."""


class ResultsError(StoreError, ValueError):
    """Results that somebody else has written, or a place, that a command was given in vain."""


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name closest in spelling to ``name``, or None if none is close."""
    matches = difflib.get_close_matches(str(name).lower(), list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """The message for an unknown name: the nearest known one, then all of them."""
    names = sorted(known)
    close = nearest(name, names)
    hint = f" Did you mean {close!r}?" if close else ""
    return f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}."
