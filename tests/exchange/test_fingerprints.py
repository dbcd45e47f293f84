from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.exchange.fingerprints import (
    bits,
    content,
    in_order,
    labelled,
    long,
    model_hash,
    of_bits,
    scatter,
    short,
    signed,
    total,
    turned,
)

WORDS = st.integers(0, 2**64 - 1)


def images(*shape: int) -> torch.Tensor:
    drawn = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return torch.from_numpy(drawn)


def test_scatter_is_splitmix64() -> None:
    """The first outputs of the generator with seed 0, of which this is the mixing function."""
    gamma = 0x9E3779B97F4A7C15
    states = np.array([gamma, 2 * gamma % 2**64], np.uint64)
    assert [f"{x:016X}" for x in scatter(states)] == ["E220A8397B1DCDAF", "6E789E6AA1B965F4"]


@pytest.mark.parametrize("shape", [(9, 28, 28, 1), (9, 8, 8, 3), (9, 5, 7, 1), (9, 1, 1, 1)])
def test_content_tells_images_apart_by_any_byte(shape: tuple[int, ...]) -> None:
    some = images(*shape)
    hashes = content(some)
    assert len(set(hashes.tolist())) == len({tuple(x.flatten().tolist()) for x in some})
    for place in (0, -1):
        other = some.clone()
        other.view(len(some), -1)[4, place] ^= 1
        assert np.flatnonzero(content(other) != hashes).tolist() == [4]


def test_content_is_of_an_image_alone() -> None:
    some = images(3000, 28, 28, 3)  # more than are hashed at once
    assert (content(some)[1700:1702] == content(some[1700:1702])).all()


def test_sums_know_no_order_and_orders_do() -> None:
    hashes = content(images(300, 8, 8, 1))
    turned = hashes[::-1].copy()
    assert total(turned) == total(hashes)
    assert in_order(turned) != in_order(hashes)
    assert in_order(np.tile(hashes, 40)) == in_order(np.tile(hashes, 40))


def test_a_label_counts_with_its_image() -> None:
    hashes = content(images(2, 8, 8, 1))
    one, other = labelled(hashes, np.array([3, 5])), labelled(hashes, np.array([5, 3]))
    assert total(one) != total(other)
    assert total(one[::-1]) == total(labelled(hashes[::-1], np.array([5, 3])))


def test_digests_of_rounds_do_not_change_places() -> None:
    values = content(images(2, 8, 8, 1))
    assert total(turned([1, 2], values)) != total(turned([2, 1], values))
    one_by_one = [turned(round, values[round - 1 : round])[0] for round in (1, 2)]
    assert turned([1, 2], values).tolist() == one_by_one


@given(value=WORDS)
def test_a_sign_does_not_count(value: int) -> None:
    word = np.uint64(value)
    assert turned(3, np.array([signed(word)])) == turned(3, np.array([word]))


@given(value=st.floats(allow_nan=False))
def test_bits_travel(value: float) -> None:
    assert of_bits(np.array([bits(value)])).tolist() == [value]
    assert np.isnan(of_bits(np.array([bits(float("nan"))])))


def test_digits() -> None:
    assert (short(0), long(0)) == ("00000000", "0" * 16)
    assert long(-1) == "f" * 16
    assert len(short(2**64 - 1)) == 8


def test_a_model_is_known_by_every_weight_and_counter() -> None:
    vector = torch.randn(101, generator=torch.Generator().manual_seed(0))
    counters = torch.arange(3)
    first = model_hash(vector, counters)
    assert -(2**63) <= first < 2**63
    assert model_hash(vector.clone(), counters.clone()) == first
    for place in (0, 50, 100):
        other = vector.clone()
        other[place] = torch.nextafter(other[place], torch.tensor(9.0))
        assert model_hash(other, counters) != first
    assert model_hash(vector, counters + 1) != first
    assert model_hash(vector[:0], counters[:0]) != 0


def test_a_model_is_known_wherever_it_lies_and_in_either_precision() -> None:
    """Of an odd number of weights every second row of a stack begins amid 8 bytes."""
    vector = torch.randn(101, generator=torch.Generator().manual_seed(0))
    counters = torch.arange(3)
    known = model_hash(vector, counters)
    stack = torch.stack([vector, vector])
    assert [model_hash(row, counters) for row in stack] == [known, known]
    assert model_hash(vector.double(), counters) == known
