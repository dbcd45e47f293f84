from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcore.outside.limits import DEPTH
from fedcore.outside.text import read_json, read_toml

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8,
)  # fmt: skip


@settings(max_examples=30)
@given(VALUES)
def test_what_json_defines_comes_back(value: object) -> None:
    assert read_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("NaN", "no number of JSON"),
        ("[-Infinity]", "no number of JSON"),
        ('{"a": 1e999}', "numbers must be finite, got inf"),
        ("[" * DEPTH + "1e999" + "]" * DEPTH, "finite"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ("1" + "0" * 20, "within -2"),
        ("1" * 5000, "digits"),
        (r'"\ud800"', "UTF-8"),
        (r'{"\udc00": 1}', "UTF-8"),
        ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 3000, "nested too deeply"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_refused(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        read_json(text)


def test_json_as_deep_as_may_be() -> None:
    text = "[" * DEPTH + "]" * DEPTH
    assert json.dumps(read_json(text)) == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a = inf", "finite"),
        ("a = [1, {b = nan}]", "finite"),
        ("a = 1e999", "finite"),
        ("a = 99999999999999999999", "within -2"),
        ("a = 1\na = 2", "overwrite"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "[" * 100 + "]" * 100, "nested too deeply"),
        ("a" + ".a" * 100 + " = 1", "nested too deeply"),
        ("[" + ".".join(f'"{i}"' for i in range(100)) + "]", "nested too deeply"),
    ],
)
def test_toml_that_is_refused(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        read_toml(text)


def test_toml_with_dots_that_are_no_keys() -> None:
    text = f"a = '{'b.' * 30}'\nc = [{'1.5, ' * 200}]\n# {'d. ' * 60}\n"
    assert len(read_toml(text)["c"]) == 200


def test_a_long_key_is_refused_before_it_takes_quadratic_time() -> None:
    """tomllib takes 4 s for 20,000 parts."""
    began = time.thread_time()
    with pytest.raises(ValueError, match="nested too deeply"):
        read_toml("a" + ".a" * 20_000 + " = 1")
    assert time.thread_time() - began < 0.5
