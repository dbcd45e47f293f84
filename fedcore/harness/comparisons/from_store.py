"""The side that a store of runs holds, and the rounds that it has of another side's runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from fedcore.errors import StoreError
from fedcore.harness.comparisons.rounds import note_traces, state_of
from fedcore.harness.comparisons.side import FACTS, Cell, ComparisonError, Known, Side
from fedcore.harness.exact.trace import Trace
from fedcore.outside.files import read_text
from fedcore.outside.limits import JSON_BYTES
from fedcore.records.record import RECORD_SCHEMA, Record
from fedcore.records.store import folder_of


def side_of_store(root: Path, name: str) -> Side:
    """The session whose runs lie in the store ``root``: of each run the record made last.

    Raises ComparisonError for a damaged record and where there is none; those of another version
    of fedcore are passed over.
    """
    side, stale, older = Side(name, "store"), 0, 0
    newest: dict[tuple[str, int], Record] = {}
    for path in sorted((root / "records").glob("*/seed*.json")):
        text = _text(path)
        if _schema(text) not in (None, RECORD_SCHEMA):
            stale += 1
            continue
        try:
            record = Record.from_json(text)
        except StoreError as error:
            raise ComparisonError(
                f"{path}: {error}; delete it, and run the session again for what it held"
            ) from error
        run = record.scenario.hash, record.seed
        known = newest.get(run)
        older += known is not None
        if known is None or record.provenance.date >= known.provenance.date:
            newest[run] = record
    if not newest:
        raise ComparisonError(
            f"{root} holds no run that this version can read ({stale} of another version): name "
            "what --results or --report has written"
        )
    if stale:
        side.notes.append(f"{stale} records of another version were passed over")
    if older:
        side.notes.append(f"{older} older records of the same runs were passed over")
    for record in newest.values():
        _add(side, record)
    for arm in side.arms.values():
        arm.state = state_of(arm.traces.values())
    side.facts = _facts(newest.values())
    return side


def note_rounds(side: Side, root: Path) -> None:
    """Add the rounds of ``side``'s runs that the store ``root`` has.

    A record is taken for a run of the session where its code and its tail accuracy are equal.
    """
    code = side.facts.get("code")
    for arm in side.arms.values():
        if arm.known.scenario is None:
            continue
        folder = folder_of(root, arm.known.scenario)
        traces: dict[int, Trace] = {}
        for path in sorted(folder.glob("seed*.json")):
            try:
                record = Record.from_json(_text(path))
            except (StoreError, ComparisonError) as error:
                side.notes.append(f"{path.name} of {arm.name} was passed over: {error}")
                continue
            value = arm.accuracy.get(record.seed)
            if (
                value == 100 * record.tail_accuracy
                and record.provenance.code == code
                and record.scenario == arm.known.scenario
            ):
                traces[record.seed] = trace_of(record)
        note_traces(arm, traces)


def trace_of(record: Record) -> Trace:
    """The trace of ``record``, in images where it says how many were scored, else in shares."""
    noted = record.audit.training
    return Trace.of(record, 1 if noted is None else noted.tested.images)


def _add(side: Side, record: Record) -> None:
    known, seed, origin = Known.known(record.scenario), record.seed, record.provenance
    side.cells.setdefault(record.scenario.id, Cell(known))
    arm = side.arm(known, record.scenario.id, twin=False)
    arm.accuracy[seed] = 100 * record.tail_accuracy
    if record.tail_asr is not None and not known.clean:
        arm.asr[seed] = 100 * record.tail_asr
    arm.traces[seed] = trace_of(record)
    if record.diverged is not None:
        arm.diverged.add(seed)
    arm.data = _with(arm.data, origin.data)
    side.data[known.data] = _with(side.data.get(known.data), origin.data)
    if origin.weights is not None:
        arm.weights = _with(arm.weights, origin.weights)


def _with(known: str | None, value: str) -> str:
    """Both, where the runs of a session were made of different things."""
    return ", ".join(sorted({*(known.split(", ") if known else ()), value}))


def _facts(records: Iterable[Record]) -> dict[str, str]:
    """What made ``records``, each fact with all of its values."""
    values: dict[str, set[str]] = {}
    for record in records:
        origin = record.provenance
        changes = " with changes" if origin.dirty else ""
        known = {
            "commit": f"{origin.commit}{changes}" if origin.commit else None,
            "code": origin.code,
            "machine": origin.machine,
            "device": origin.device,
            "engine": record.engine,
            "kernels": origin.kernels,
            "python": origin.python,
            **dict(origin.versions),
            **{f"code of {kind}": digest for kind, digest in origin.foreign},
        }
        for what, value in known.items():
            if value is not None:
                values.setdefault(what, set()).add(value)
    order = [*FACTS, *(what for what in values if what not in FACTS)]
    return {what: ", ".join(sorted(values[what])) for what in order if what in values}


def _text(path: Path) -> str:
    try:
        return read_text(path, JSON_BYTES)
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path} cannot be read: {error}") from error


def _schema(text: str) -> object:
    """The schema that a record names; None where it is no record at all."""
    match = re.match(r'\{\s*"schema":\s*(\d+)', text)
    return None if match is None else int(match[1])
