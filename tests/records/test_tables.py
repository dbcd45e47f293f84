from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedcore.errors import FedcoreError
from fedcore.records.tables import read_toml, table


@dataclass(frozen=True)
class Limit:
    name: str
    width: float
    runs: int = 3
    exact: bool = False
    top: float | None = None
    where: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise ValueError(f"runs must be >= 1, got {self.runs}")


class LimitError(FedcoreError):
    pass


def test_an_integer_counts_as_a_float_and_what_is_left_out_has_its_default() -> None:
    limit = table(Limit, {"width": 2, "name": "a"}, "here", LimitError)
    assert limit == Limit("a", 2.0)
    assert type(limit.width) is float
    values = {"name": "a", "width": 0.5, "exact": True, "top": 1, "where": {"n": [1]}, "runs": 1}
    assert table(Limit, values, "here", LimitError) == Limit("a", 0.5, 1, True, 1.0, {"n": [1]})


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"name": ""}, "name must be a text that is not empty, got ''"),
        ({"name": 3}, "name must be a text that is not empty, got 3"),
        ({"width": "2"}, "width must be a finite number, got '2'"),
        ({"width": float("nan")}, "width must be a finite number, got nan"),
        ({"width": True}, "width must be a finite number, got True"),
        ({"top": float("inf")}, "top must be a finite number, got inf"),
        ({"runs": 3.0}, "runs must be an integer, got 3.0"),
        ({"runs": True}, "runs must be an integer, got True"),
        ({"exact": 1}, "exact must be true or false, got 1"),
        ({"where": "iid"}, "where must be a table, got 'iid'"),
        ({"runs": 0}, "runs must be >= 1, got 0"),
        ({"widht": 1.0}, "nothing else; unknown key 'widht'"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(LimitError) as refusal:
        table(Limit, {"name": "a", "width": 1.0, **changes}, "file, [here]", LimitError)
    assert str(refusal.value).startswith("file, [here]: ")
    assert str(refusal.value).endswith(rule)


def test_a_key_that_is_missing_and_a_value_that_is_no_table() -> None:
    with pytest.raises(LimitError, match=r"^here: must hold name, width \(and may hold runs, "):
        table(Limit, {"name": "a"}, "here", LimitError)
    with pytest.raises(LimitError, match=r"^here: must be a table, got \[\]$"):
        table(Limit, [], "here", LimitError)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("[a]\nwidth = 2\n")
    assert read_toml(path, "limits", LimitError) == {"a": {"width": 2}}
    for content in (b"[a", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(LimitError, match=r"^limits .*limits\.toml: "):
            read_toml(path, "limits", LimitError)
    with pytest.raises(LimitError, match=r"^limits .*none\.toml: .*No such file"):
        read_toml(tmp_path / "none.toml", "limits", LimitError)
