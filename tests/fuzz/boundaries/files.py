"""TOML and JSON files: thresholds, tuning, claims, published values; results and baselines."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedcore.harness.baselines.canaries import RecordedCanaries
from fedcore.harness.baselines.file import Baseline, checksum
from fedcore.harness.claims.records import read_records
from fedcore.harness.claims.stored import read_claims
from fedcore.harness.comparisons.read import read_side
from fedcore.harness.reports.files import RESULTS, read_results
from fedcore.harness.suite.published import read_published
from fedcore.harness.suite.thresholds import Thresholds
from fedcore.harness.tuning.file import read_tuning
from fedcore.records.record import Record
from tests.fuzz.mutate import damaged, damaged_text, odd_value, with_odd_value

BENCHMARK = Path(__file__).parents[3] / "benchmark"
_TOML: dict[str, Callable[[Path], Any]] = {
    "thresholds.toml": Thresholds.read,
    "tuning.toml": read_tuning,
    "claims.toml": read_records,
    "study.toml": read_published,
}
_BITS = (
    "a = [[[[[[[[", "[a.b.c]", "[[a]]", "a = {b = {c = 1}}", "a = 1e999", "a = nan", "a = -inf",
    "a = 99999999999999999999", "a = 1979-05-27", "a = 'x", 'a = """', "\0", "a.b.c.d = 1",
    "a" + ".a" * 100 + " = 1", "a = " + "[" * 200 + "]" * 200, "a = " + "9" * 5000, "[noise]",
    "where = {}", "where = 1", "min = 5", "max = inf", "reason = ''", "value = 1", "seeds = true",
)  # fmt: skip


def toml(rng: random.Random, folder: Path) -> None:
    name = rng.choice(list(_TOML))
    text = rng.choice(_pieces(name))
    if rng.random() < 0.3:
        lines = text.split("\n")
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(_BITS))
        text = "\n".join(lines)
    content = damaged_text(rng, text).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        content = damaged(rng, content)
    path = folder / name
    path.write_bytes(content)
    _TOML[name](path)


@functools.cache
def _pieces(name: str) -> list[str]:
    """The file in parts of some 40 lines, each with what every such file must hold."""
    text = (BENCHMARK / name).read_text(encoding="utf-8")
    if name != "thresholds.toml":
        return [text[:6000].rpartition("\n\n")[0] or text, text]
    tables = text.split("\n\n[")
    noise = next(table for table in tables if table.startswith("noise]"))
    rest = [f"[{table}" for table in tables[1:] if table != noise]
    return ["\n\n".join([f"[{noise}", *rest[at : at + 5]]) for at in range(0, len(rest), 5)]


def records(rng: random.Random, folder: Path) -> None:
    """Stored records, with a checksum that fits or not."""
    value = with_odd_value(rng, _record())
    if rng.random() < 0.8 and isinstance(value, dict):
        value.pop("checksum", None)
        value["checksum"] = _sum(value)
    text = _dumped(value)
    if rng.random() < 0.2:
        text = damaged(rng, text.encode(errors="surrogatepass")).decode(errors="replace")
    Record.from_json(text)


def results(rng: random.Random, folder: Path) -> None:
    """results.json, baselines, canaries, claims with curves."""
    match rng.randrange(4):
        case 0:
            text = _dumped(with_odd_value(rng, _results()))
            if rng.random() < 0.3:
                text = damaged_text(rng, text)
            (folder / RESULTS).write_text(text, encoding="utf-8", errors="surrogatepass")
            read_results(folder)
            read_side(folder)
        case 1:
            Baseline.from_text(_dumped(_summed(with_odd_value(rng, _baseline()))), "a")
        case 2:
            RecordedCanaries.from_text(_dumped(_summed(with_odd_value(rng, _canaries()))), "a")
        case _:
            path = folder / "claims.json"
            claims = {"schema": 2, "arms": {"x": {"id": "x", "rounds": [1], "seeds": {"0": [0.5]}}}}
            value = with_odd_value(rng, {**claims, "claims": [{"name": "a"}]})
            path.write_text(_dumped(value), encoding="utf-8", errors="surrogatepass")
            read_claims(path)


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):
        return "[" * 100_000


def _sum(value: Any) -> str:
    from fedcore.records.record import _checksum

    try:
        return _checksum(value)
    except (RecursionError, ValueError, TypeError):
        return ""


def _summed(value: Any) -> Any:
    if isinstance(value, dict):
        value.pop("checksum", None)
        try:
            value["checksum"] = checksum(value)
        except (RecursionError, ValueError, TypeError):
            value["checksum"] = ""
    return value


@functools.cache
def _record() -> dict[str, Any]:
    from tests.records.test_record import RECORD

    value: dict[str, Any] = json.loads(RECORD.to_json())
    return value


@functools.cache
def _baseline() -> dict[str, Any]:
    path = min((BENCHMARK / "baselines").glob("*/*.json"), key=lambda file: file.stat().st_size)
    content = json.loads(path.read_text(encoding="utf-8"))
    for name in ("cells", "runs"):
        content[name] = dict(list(content[name].items())[:2])
    return content


@functools.cache
def _canaries() -> dict[str, Any]:
    content = json.loads((BENCHMARK / "canaries.json").read_text(encoding="utf-8"))
    content["canaries"] = dict(list(content["canaries"].items())[:3])
    return content


@functools.cache
def _results() -> dict[str, Any]:
    from fedcore.harness.reports.files import RESULTS_SCHEMA

    return {
        "schema": RESULTS_SCHEMA,
        "provenance": {},
        "cells": [{"id": "a", "clean": {"mean": 1.0}, "verdict": "pass", "seeds": [0, 1]}],
        "overall": [],
        "costs": [],
        "matrices": [],
        "noise": None,
        "repeat": odd_value(random.Random(1)),
    }
