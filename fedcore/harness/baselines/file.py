"""Baseline files: what the cells of a suite measured when somebody last looked, round by round.

``benchmark/baselines/<dataset>-<profile>[-<model>]-<cpu|cuda>/<machine class>.json``: one file for
each class, made by one machine and one commit. A checksum over everything else keeps numbers from
being edited by hand: they change by running the suite.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fedcore.errors import FedcoreError
from fedcore.harness.exact.changes import Traces
from fedcore.harness.exact.machine_class import nearest, slug
from fedcore.harness.exact.trace import Trace
from fedcore.outside.files import read_text
from fedcore.outside.limits import JSON_BYTES
from fedcore.outside.text import read_json

BASELINE_SCHEMA = 2
_LONGEST_STEM = 100

#: Tail accuracies in percent (clean, poisoned) and the attack success rate, by seed.
Measured = Mapping[str, Mapping[int, float]]


class BaselineError(FedcoreError, ValueError):
    """A baseline that is damaged, of another schema, or of another machine or data set."""


@dataclass(frozen=True)
class Origin:
    """What made the numbers of a baseline. ``fingerprint`` holds torch, CPU, GPU and kernels."""

    date: str
    commit: str | None
    dirty: bool | None
    code: str
    fingerprint: str
    machine: str
    command: str

    def fits(self, other: Origin) -> bool:
        """Whether numbers of both may stand in one file: one commit, one code, one machine."""
        mine = (self.commit, self.code, self.fingerprint)
        return mine == (other.commit, other.code, other.fingerprint)


@dataclass(frozen=True)
class BaselineCell:
    """One cell: the test it belongs to, its scenario (without None) and what it measured."""

    test: str
    hash: str
    scenario: Mapping[str, Any]
    values: Measured


@dataclass(frozen=True)
class Baseline:
    """Recorded cells by id, and the ``traces`` of their runs.

    ``device`` is cpu or cuda, ``machine_class`` what must be equal for equal bits, ``data`` the
    digest of each data set; ``source`` is None only where nothing is recorded.
    """

    dataset: str
    profile: str
    device: str
    machine_class: str
    data: Mapping[str, str]
    source: Origin | None = None
    entries: Mapping[str, BaselineCell] = field(default_factory=dict)
    traces: Traces = field(default_factory=dict)

    def same(self, other: Baseline) -> bool:
        """Whether ``other`` holds the same numbers, whoever made them."""
        return dataclasses.replace(self, source=other.source) == other

    def to_text(self) -> str:
        """The file: JSON with a line for each fact, so that changes read well in version control.

        `from_text` restores an equal baseline.
        """
        content = {
            "schema": BASELINE_SCHEMA,
            "dataset": self.dataset,
            "profile": self.profile,
            "device": self.device,
            "class": self.machine_class,
            "data": dict(self.data),
            "source": None if self.source is None else asdict(self.source),
            "cells": {
                name: {
                    "test": entry.test,
                    "hash": entry.hash,
                    "values": {
                        metric: {str(seed): value for seed, value in found.items()}
                        for metric, found in entry.values.items()
                    },
                    "scenario": dict(entry.scenario),
                }
                for name, entry in self.entries.items()
            },
            "runs": {
                scenario: {str(seed): trace.to_dict() for seed, trace in found.items()}
                for scenario, found in self.traces.items()
            },
        }
        return lines({**content, "checksum": checksum(content)}, depth=3) + "\n"

    @classmethod
    def from_text(cls, text: str, name: str) -> Baseline:
        """The baseline that `to_text` wrote; ``name`` is for messages. Raises `BaselineError`."""
        remedy = (
            "restore it from version control, or delete it and record it anew with "
            "--update-baseline"
        )
        try:
            content = read_json(text)
        except ValueError as error:
            raise BaselineError(
                f"baseline {name} is cut off or no JSON ({error}): {remedy}"
            ) from error
        if not isinstance(content, dict) or "schema" not in content:
            raise BaselineError(f"{name} is no baseline, it names no schema: {remedy}")
        if content["schema"] != BASELINE_SCHEMA:
            raise BaselineError(
                f"baseline {name} has schema {content['schema']!r}, this version reads "
                f"{BASELINE_SCHEMA} (one file for each machine class, of one commit): delete it "
                "and record it anew with --update-baseline"
            )
        found = content.pop("checksum", None)
        if found != checksum(content):
            raise BaselineError(
                f"baseline {name} does not match its checksum: somebody has edited it, and its "
                f"numbers are no longer what was measured; {remedy}"
            )
        try:
            return cls._of(content)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise BaselineError(f"baseline {name} is damaged ({error!r}): {remedy}") from error

    @classmethod
    def _of(cls, content: Mapping[str, Any]) -> Baseline:
        entries = {
            name: BaselineCell(
                test=cell["test"],
                hash=cell["hash"],
                scenario=dict(cell["scenario"]),
                values={
                    metric: {int(seed): float(value) for seed, value in found.items()}
                    for metric, found in cell["values"].items()
                },
            )
            for name, cell in content["cells"].items()
        }
        return cls(
            dataset=content["dataset"],
            profile=content["profile"],
            device=content["device"],
            machine_class=str(content["class"]),
            data=dict(content["data"]),
            source=Origin(**content["source"]),
            entries=entries,
            traces={
                scenario: {int(seed): Trace.from_dict(trace) for seed, trace in found.items()}
                for scenario, found in content["runs"].items()
            },
        )

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """The baseline in ``path``. Raises `BaselineError`."""
        name = f"{path.parent.name}/{path.name}"
        try:
            text = read_text(path, JSON_BYTES)
        except (OSError, ValueError) as error:
            raise BaselineError(f"baseline {name} cannot be read: {error}") from error
        return cls.from_text(text, name)


def folder_name(dataset: str, profile: str, model: str | None, device: str) -> str:
    """The folder of a suite's baselines; of a path in ``dataset`` only the last part is taken."""
    kind, _, rest = dataset.partition(":")
    stem = Path(rest).stem if rest else None
    if stem is not None and len(stem) > _LONGEST_STEM:  # with all else a system may refuse it
        stem = f"{stem[:_LONGEST_STEM]}.{hashlib.sha256(stem.encode()).hexdigest()[:8]}"
    names = (kind, stem, profile, model, device)
    return re.sub(r"[^a-z0-9.\-]", "_", "-".join(filter(None, names)).lower())


def nearest_file(folder: Path, machine_class: str) -> tuple[Path, Baseline] | None:
    """The baseline in ``folder`` that a machine of ``machine_class`` is held to, and its file.

    See `fedcore.harness.exact.machine_class.nearest`; None where there is none. Raises
    `BaselineError` where any file is damaged, or where one of the old layout lies beside it.
    """
    old = folder.with_name(f"{folder.name}.json")
    if old.exists():
        Baseline.read(old)  # of a schema that is read no more
        raise BaselineError(f"baseline {old.name} lies outside the folder {folder.name}: delete it")
    paths = sorted(folder.glob("*.json"))
    files = [Baseline.read(path) for path in paths]
    known = [(f.machine_class, f.source.date if f.source is not None else "") for f in files]
    place = nearest(machine_class, known)
    return None if place is None else (paths[place], files[place])


def file_name(machine_class: str) -> str:
    """The name of the file of a machine class in that folder."""
    return f"{slug(machine_class)}.json"


def checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON form of ``content``."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def lines(value: Any, depth: int, indent: str = "") -> str:
    """JSON with a line for each member down to ``depth`` levels, and the rest on one line."""
    if depth == 0 or not isinstance(value, dict | list) or not value:
        return json.dumps(value, allow_nan=False)
    inner = indent + " "
    if isinstance(value, dict):
        members = [f"{json.dumps(k)}: {lines(v, depth - 1, inner)}" for k, v in value.items()]
        opening, closing = "{}"
    else:
        members = [lines(v, depth - 1, inner) for v in value]
        opening, closing = "[]"
    body = ",\n".join(inner + member for member in members)
    return f"{opening}\n{body}\n{indent}{closing}"
