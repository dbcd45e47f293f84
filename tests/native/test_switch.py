"""Kernels are switched off for a while, all or some, and on again."""

from __future__ import annotations

import pytest

from fedcore.native import disabled
from fedcore.native.switch import NAMES, off


def test_all_some_and_more_of_them() -> None:
    assert off() == frozenset()
    with disabled():
        assert off() == set(NAMES)
    with disabled("gram"):
        assert off() == {"gram"}
        with disabled("pooling", "gram"):
            assert off() == {"gram", "pooling"}
        assert off() == {"gram"}
    assert off() == frozenset()


def test_on_again_after_an_error() -> None:
    with pytest.raises(KeyError), disabled():
        raise KeyError
    assert off() == frozenset()


def test_an_unknown_name_is_an_error() -> None:
    with (
        pytest.raises(ValueError, match=r"must be among pooling, .*, got grams"),
        disabled("grams"),
    ):
        pytest.fail("unreachable")
    assert off() == frozenset()
