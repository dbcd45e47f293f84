"""Canaries: small runs in float64 whose accuracies are equal on every machine.

Float32 rounds differently from one processor, library or compiler to the next, and training
carries that into the accuracies. In float64 the rounding is some 1e-16, so that over a few rounds
of a small model no test image changes sides: what differs then is the code. A recorded file holds
what each run scored; `differences` says what does not agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedcore.components.registry import Registry
from fedcore.data.loading import load
from fedcore.engine.execution import Execution
from fedcore.harness.baselines.file import BaselineError, Origin, checksum, lines
from fedcore.harness.exact.trace import Trace, absolute_or_relative, divergence
from fedcore.harness.runs.job import Failure, Job
from fedcore.harness.runs.processes import ProcessPool
from fedcore.outside.files import read_text
from fedcore.outside.limits import JSON_BYTES
from fedcore.outside.text import read_json
from fedcore.records.store import Run, write_atomically
from fedcore.scenario import Scenario

CANARIES_SCHEMA = 1
#: How far the losses of two machines may lie apart: absolutely up to a loss of 1, else relatively.
TOLERANCE = 1e-6
RULE = (
    "rule: on every machine the accuracies and attack success rates of all rounds are equal, and "
    f"the losses within {TOLERANCE:g} (of the loss, where that is above 1)"
)
EXECUTION = Execution("sequential", "cpu", "float64")


@dataclass(frozen=True)
class Addition:
    """What made canaries that were recorded later than the others, and their ``names``."""

    source: Origin
    names: tuple[str, ...]


@dataclass(frozen=True)
class RecordedCanaries:
    """A file of canaries: what made it, and by name each scenario's hash and trace.

    ``added`` names those that ``source`` did not make, and what did.
    """

    source: Origin
    canaries: Mapping[str, tuple[str, Trace]]
    added: tuple[Addition, ...] = ()

    def with_more(self, found: Mapping[str, tuple[str, Trace]], made: Origin) -> RecordedCanaries:
        """This file and ``found``, which ``made`` made; what it holds stays as it is recorded."""
        more = {name: entry for name, entry in found.items() if name not in self.canaries}
        if not more:
            return self
        added = (*self.added, Addition(made, tuple(more)))
        return RecordedCanaries(self.source, {**self.canaries, **more}, added)

    def to_text(self) -> str:
        """The file: JSON with a line for each canary. `from_text` restores an equal object."""
        added = [{**asdict(more.source), "names": list(more.names)} for more in self.added]
        content = {
            "schema": CANARIES_SCHEMA,
            "source": asdict(self.source),
            **({"added": added} if added else {}),
            "canaries": {
                name: {"hash": scenario, **trace.to_dict()}
                for name, (scenario, trace) in self.canaries.items()
            },
        }
        return lines({**content, "checksum": checksum(content)}, depth=2) + "\n"

    @classmethod
    def from_text(cls, text: str, name: str) -> RecordedCanaries:
        """What `to_text` wrote; ``name`` is for messages. Raises `BaselineError`."""
        remedy = "restore it from version control, or record it anew with --update-canaries=all"
        try:
            content = read_json(text)
            if content["schema"] != CANARIES_SCHEMA:
                raise ValueError(
                    f"schema {content['schema']!r}, this version reads {CANARIES_SCHEMA}"
                )
            if content.pop("checksum") != checksum(content):
                raise ValueError("it does not match its checksum: somebody has edited it")
            canaries = {
                key: (str(found["hash"]), Trace.from_dict(found))
                for key, found in content["canaries"].items()
            }
            added = tuple(
                Addition(
                    Origin(**{k: v for k, v in more.items() if k != "names"}), tuple(more["names"])
                )
                for more in content.get("added", ())
            )
            return cls(Origin(**content["source"]), canaries, added)
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise BaselineError(f"{name} holds no canaries ({error}): {remedy}") from error

    @classmethod
    def read(cls, path: Path) -> RecordedCanaries:
        """The canaries in ``path``. Raises `BaselineError`."""
        try:
            text = read_text(path, JSON_BYTES)
        except (OSError, ValueError) as error:
            raise BaselineError(f"{path.name} cannot be read: {error}") from error
        return cls.from_text(text, path.name)

    def write(self, path: Path) -> None:
        """Replace ``path`` in one step. OSError where that fails."""
        write_atomically(path, self.to_text())


def ours(registry: Registry[Any]) -> list[str]:
    """The names in ``registry`` that fedcore brings itself, in alphabetical order."""
    # a class that somebody named by its import path is not registered by fedcore
    own = [name for name in registry if ":" not in name]
    return [name for name in own if registry[name].__module__.startswith("fedcore.")]


def traces(
    scenarios: Mapping[str, Scenario], seed: int, data_dir: Path, jobs: int
) -> dict[str, Trace | Failure]:
    """What each of ``scenarios`` scores with ``seed``, made by ``jobs`` worker processes."""
    pool = ProcessPool(jobs)
    queued = {
        name: Job(Run(scenario, seed), None, None, data_dir, EXECUTION)
        for name, scenario in scenarios.items()
    }
    try:
        for job in queued.values():
            pool.submit(job)
        found: dict[str, Trace | Failure] = {}
        for name, job in queued.items():
            result = pool.result(job)
            if isinstance(result, Failure):
                found[name] = result
                continue
            tested = len(load(result.scenario.data, data_dir).test)
            found[name] = Trace.of(result, tested).without_model()
        return found
    finally:
        pool.close()


def differences(
    recorded: Mapping[str, tuple[str, Trace]],
    scenarios: Mapping[str, Scenario],
    now: Mapping[str, Trace | Failure],
) -> Iterator[str]:
    """A line for each of ``scenarios`` that does not agree with ``recorded``, and why."""
    equal = absolute_or_relative(TOLERANCE)
    for name, scenario in scenarios.items():
        result = now[name]
        if isinstance(result, Failure):
            yield f"{name}: {result.message.strip()}"
        elif name not in recorded:
            yield f"{name}: not recorded yet"
        else:
            before, trace = recorded[name]
            other = f"of another scenario ({before} -> {scenario.hash})"
            parts = [other] if before != scenario.hash else []
            if (where := divergence(trace, result, equal)) is not None:
                parts.append(where.text)
            if parts:
                yield f"{name}: {'; '.join(parts)}"
    for name in recorded:
        if name not in scenarios:
            yield f"{name}: recorded, and no longer a canary"
