from __future__ import annotations

from dataclasses import dataclass

import pytest

from fedcore.records.decode import read, read_json


@dataclass(frozen=True)
class Inner:
    name: str
    share: float | None


@dataclass(frozen=True)
class Outer:
    count: int
    flag: bool | None
    pairs: tuple[tuple[str, int], ...]
    inner: Inner | None
    rows: tuple[tuple[float, ...], ...]


VALUES = {
    "count": 3,
    "flag": True,
    "pairs": [["a", 1], ["b", 2]],
    "inner": {"name": "x", "share": 0.5},
    "rows": [[1.0], []],
}


def test_each_annotation() -> None:
    whole = Outer(3, True, (("a", 1), ("b", 2)), Inner("x", 0.5), ((1.0,), ()))
    assert read(Outer, VALUES) == whole
    absent = {**VALUES, "flag": None, "inner": None}
    assert read(Outer, absent) == Outer(3, None, whole.pairs, None, whole.rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 3.0}, "count must be int, got 3.0"),
        ({"count": True}, "count must be int, got True"),
        ({"count": "3"}, "count must be int, got '3'"),
        ({"flag": 1}, "flag must be bool, got 1"),
        ({"pairs": [["a"]]}, "pairs must be a list of 2"),
        ({"pairs": [["a", 1, 2]]}, "pairs must be a list of 2"),
        ({"pairs": "ab"}, "pairs must be a list, got 'ab'"),
        ({"inner": {"name": "x"}}, "inner: share missing or unknown"),
        ({"inner": {"name": "x", "share": 1}}, "inner.share must be a finite float, got 1"),
        ({"inner": {"name": "x", "share": 1e999}}, "inner.share must be a finite float, got inf"),
        ({"inner": []}, "inner must be an object"),
        ({"rows": [1.0]}, "rows must be a list, got 1.0"),
        ({"extra": 1}, "extra missing or unknown"),
        ({"inner": {"share": 0.5, "name": "x"}}, "inner: its keys are in another order"),
    ],
)
def test_nothing_looser(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        read(Outer, {**VALUES, **changes})


def test_a_kind_that_it_does_not_know_is_an_error_of_the_program() -> None:
    with pytest.raises(TypeError, match="cannot be read from JSON"):
        read(set[int], [1])


@pytest.mark.parametrize("text", ["NaN", "-Infinity", '{"a": 1, "a": 1}', "[" * 100_000, "1,", ""])
def test_json_that_means_nothing_or_two_things(text) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_json(text)
