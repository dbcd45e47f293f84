"""Baseline files: what the cells of a suite measured when somebody last looked, seed by seed.

``benchmark/baselines/<dataset>-<profile>[-<model>]-<cpu|cuda>.json``. A checksum over everything
else keeps numbers from being edited by hand: they change by running the suite.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedcore.errors import FedcoreError

SCHEMA = 1
_LONGEST_STEM = 100

#: Tail accuracies in percent (clean, poisoned) and the attack success rate, by seed.
Measured = Mapping[str, Mapping[int, float]]


class BaselineError(FedcoreError, ValueError):
    """A baseline that is damaged, of another schema, or of another machine or data set."""


@dataclass(frozen=True)
class Source:
    """What made some of the numbers of a baseline. ``fingerprint`` holds torch, CPU and GPU."""

    date: str
    commit: str | None
    dirty: bool | None
    code: str
    fingerprint: str
    machine: str
    command: str


@dataclass(frozen=True)
class Entry:
    """One cell: the test it belongs to, its scenario, what it measured, and who made that."""

    test: str
    hash: str
    scenario: Mapping[str, Any]
    values: Measured
    source: Source

    def same(self, other: Entry) -> bool:
        """Whether ``other`` would put the same into the file, but for date and commit."""
        return (
            (self.test, self.scenario, self.values) == (other.test, other.scenario, other.values)
        ) and self.source.fingerprint == other.source.fingerprint


@dataclass(frozen=True)
class Baseline:
    """Recorded cells by id. ``device`` is cpu or cuda, ``data`` the digest of each data set."""

    dataset: str
    profile: str
    device: str
    data: Mapping[str, str]
    entries: Mapping[str, Entry]

    def to_text(self) -> str:
        """The file: JSON with a line for each fact, so that changes read well in version control.

        `from_text` restores an equal baseline.
        """
        sources = list(dict.fromkeys(entry.source for entry in self.entries.values()))
        content = {
            "schema": SCHEMA,
            "dataset": self.dataset,
            "profile": self.profile,
            "device": self.device,
            "data": dict(self.data),
            "sources": [asdict(source) for source in sources],
            "cells": {
                name: {
                    "test": entry.test,
                    "hash": entry.hash,
                    "source": sources.index(entry.source),
                    "values": {
                        metric: {str(seed): value for seed, value in found.items()}
                        for metric, found in entry.values.items()
                    },
                    "scenario": dict(entry.scenario),
                }
                for name, entry in self.entries.items()
            },
        }
        return _lines({**content, "checksum": checksum(content)}, depth=3) + "\n"

    @classmethod
    def from_text(cls, text: str, name: str) -> Baseline:
        """The baseline that `to_text` wrote; ``name`` is for messages. Raises `BaselineError`."""
        remedy = (
            "restore it from version control, or delete it and record it anew with "
            "--update-baseline"
        )
        try:
            content = json.loads(text, parse_constant=_refuse)
        except ValueError as error:
            raise BaselineError(
                f"baseline {name} is cut off or no JSON ({error}): {remedy}"
            ) from error
        if not isinstance(content, dict) or "schema" not in content:
            raise BaselineError(f"{name} is no baseline, it names no schema: {remedy}")
        if content["schema"] != SCHEMA:
            raise BaselineError(
                f"baseline {name} has schema {content['schema']!r}, this version reads {SCHEMA}: "
                "delete it and record it anew with --update-baseline"
            )
        found = content.pop("checksum", None)
        if found != checksum(content):
            raise BaselineError(
                f"baseline {name} does not match its checksum: somebody has edited it, and its "
                f"numbers are no longer what was measured; {remedy}"
            )
        try:
            return cls._of(content)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise BaselineError(f"baseline {name} is damaged ({error!r}): {remedy}") from error

    @classmethod
    def _of(cls, content: Mapping[str, Any]) -> Baseline:
        sources = [Source(**source) for source in content["sources"]]
        entries = {
            name: Entry(
                test=cell["test"],
                hash=cell["hash"],
                scenario=dict(cell["scenario"]),
                values={
                    metric: {int(seed): float(value) for seed, value in found.items()}
                    for metric, found in cell["values"].items()
                },
                source=sources[cell["source"]],
            )
            for name, cell in content["cells"].items()
        }
        return cls(
            dataset=content["dataset"],
            profile=content["profile"],
            device=content["device"],
            data=dict(content["data"]),
            entries=entries,
        )

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """The baseline in ``path``. Raises `BaselineError`."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BaselineError(f"baseline {path.name} cannot be read: {error}") from error
        return cls.from_text(text, path.name)


def file_name(dataset: str, profile: str, model: str | None, device: str) -> str:
    """The name of a baseline file; of a path in ``dataset`` only the last part is taken."""
    kind, _, rest = dataset.partition(":")
    stem = Path(rest).stem if rest else None
    if stem is not None and len(stem) > _LONGEST_STEM:  # with all else a system may refuse it
        stem = f"{stem[:_LONGEST_STEM]}.{hashlib.sha256(stem.encode()).hexdigest()[:8]}"
    names = (kind, stem, profile, model, device)
    return re.sub(r"[^a-z0-9.\-]", "_", "-".join(filter(None, names)).lower()) + ".json"


def checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON form of ``content``."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _lines(value: Any, depth: int, indent: str = "") -> str:
    """JSON with a line for each member down to ``depth`` levels, and the rest on one line."""
    if depth == 0 or not isinstance(value, dict | list) or not value:
        return json.dumps(value, allow_nan=False)
    inner = indent + " "
    if isinstance(value, dict):
        members = [f"{json.dumps(k)}: {_lines(v, depth - 1, inner)}" for k, v in value.items()]
        opening, closing = "{}"
    else:
        members = [_lines(v, depth - 1, inner) for v in value]
        opening, closing = "[]"
    body = ",\n".join(inner + member for member in members)
    return f"{opening}\n{body}\n{indent}{closing}"
