from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcore.streams import Purpose, stream, torch_seed, torch_stream

PLACES = st.integers(-1, 10**4)


@given(st.integers(0, 2**63), st.sampled_from(Purpose), PLACES, PLACES)
def test_a_stream_depends_on_nothing_else(seed, purpose, round, client) -> None:
    one = stream(seed, purpose, round=round, client=client).integers(0, 2**60, 4)
    stream(seed + 1, purpose).random(10)
    two = stream(seed, purpose, round=round, client=client).integers(0, 2**60, 4)
    assert one.tolist() == two.tolist()
    assert 0 <= torch_seed(seed, purpose, round=round, client=client) < 2**63


def test_streams_differ_in_every_coordinate() -> None:
    places = list(itertools.product((0, 1, 2**40), Purpose, (-1, 0, 1, 2), (-1, 0, 1, 2)))
    numpy = {int(stream(s, p, round=r, client=c).integers(0, 2**62)) for s, p, r, c in places}
    torches = {torch_seed(s, p, round=r, client=c) for s, p, r, c in places}
    assert len(numpy) == len(torches) == len(places)


def test_round_and_client_do_not_mix() -> None:
    one = stream(0, Purpose.DROPOUT, round=1, client=2).random()
    assert one != stream(0, Purpose.DROPOUT, round=2, client=1).random()


def test_torch_streams_repeat() -> None:
    one, two = (torch_stream(3, Purpose.DROPOUT, round=1) for _ in range(2))
    assert torch.equal(torch.rand(5, generator=one), torch.rand(5, generator=two))


def test_numbers_of_purposes_are_part_of_stored_results() -> None:
    """Appending is fine, and needs a line here; renumbering changes every recorded number."""
    assert [purpose.name for purpose in Purpose][:14] == [
        "PARTITION",
        "INITIAL_WEIGHTS",
        "COHORT",
        "BATCH_ORDER",
        "MALICIOUS_SET",
        "POISONED_SAMPLES",
        "NEW_LABELS",
        "ATTACK_NOISE",
        "PRIVACY_NOISE",
        "LOCAL_EPOCHS",
        "DROPOUT",
        "VALIDATION_SPLIT",
        "SYNTHETIC_DATA",
        "BOOTSTRAP",
    ]
    assert [int(purpose) for purpose in Purpose][:14] == list(range(1, 15))
    assert Purpose.SERVER_CHANCE == 19
    assert int(stream(0, Purpose.COHORT, round=1).integers(0, 10**9)) == RECORDED


RECORDED = 535_062_685


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="a seed must be >= 0, got -1"):
        stream(-1, Purpose.COHORT)
