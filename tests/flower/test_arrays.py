"""Models as arrays and back: what does not fit or is not finite is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("flwr", reason="needs the extra 'flower'")

from flwr.app import Array, ArrayRecord

from fedcore.engine.execution import Execution
from fedcore.exchange.layout import Kind, Layout
from fedcore.federation.federation import Federation
from fedcore.flower.arrays import ArraysError, from_arrays, to_arrays
from fedcore.flower.local import task_of
from fedcore.flower.numbers import numbers
from fedcore.scenario import Scenario


@pytest.fixture(scope="module")
def layout(tiny: Scenario) -> Layout:
    federation = Federation.prepare(tiny, 0, None, torch.device("cpu"))
    return task_of(federation, Execution(device="cpu")).engine(federation).layout


def model(layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    vector = torch.randn(layout.size, generator=torch.Generator().manual_seed(0))
    return vector, torch.arange(layout.num_counters)


def test_there_and_back(layout: Layout) -> None:
    vector, counters = model(layout)
    back = from_arrays(layout, to_arrays(layout, vector, counters), vector)
    assert torch.equal(back[0], vector)
    assert torch.equal(back[1], counters)


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (float("nan"), np.float32, "{name} is not finite"),
        (float("-inf"), np.float64, "{name} is not finite"),
        (1e300, np.float64, "values beyond the range of torch.float32"),
    ],
)
@pytest.mark.parametrize("place", [0, -1])
def test_what_is_not_finite_is_named(layout: Layout, value, dtype, message, place) -> None:
    """In the first and the last array of floats, and only where ``finite`` is asked for."""
    vector, counters = model(layout)
    name = [e.name for e in layout.entries if e.kind is not Kind.COUNTER][place]
    arrays = to_arrays(layout, vector, counters)
    odd = arrays[name].numpy().astype(dtype)
    odd.reshape(-1)[-1] = value
    changed = ArrayRecord({**arrays, name: Array(odd)})
    with pytest.raises(ArraysError, match=message.format(name=name)):
        from_arrays(layout, changed, vector)
    taken, _ = from_arrays(layout, changed, vector, finite=False)
    assert not torch.isfinite(taken).all()


def test_counters_are_finite_whatever_is_asked(layout: Layout) -> None:
    vector, counters = model(layout)
    name = next(e.name for e in layout.entries if e.kind is Kind.COUNTER)
    changed = ArrayRecord({**to_arrays(layout, vector, counters), name: Array(np.array(np.nan))})
    with pytest.raises(ArraysError, match=f"{name} is not finite"):
        from_arrays(layout, changed, vector, finite=False)


def test_the_usual_bytes_are_read_without_numpys_parser(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has another header, type or length goes to the parser, which knows what is wrong."""
    vector, counters = model(layout)
    arrays = to_arrays(layout, vector, counters)
    name = next(e.name for e in layout.entries if e.kind is Kind.PARAMETER)
    whole = arrays[name]
    odd = Array(whole.dtype, whole.shape, whole.stype, whole.data[:-1])
    parsed: list[str] = []

    def watched(name: str, array: Array, shape: tuple[int, ...]) -> np.ndarray:
        parsed.append(name)
        return numbers(name, array, shape)

    monkeypatch.setattr("fedcore.flower.arrays.numbers", watched)
    assert torch.equal(from_arrays(layout, arrays, vector)[0], vector)
    assert parsed == []
    with pytest.raises(ArraysError, match=f"{name} cannot be read"):
        from_arrays(layout, ArrayRecord({**arrays, name: odd}), vector)
    assert len(parsed) == 1
    double = from_arrays(layout, arrays, vector.double())[0]
    assert torch.equal(double, vector.double())
    assert len(parsed) > 1


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.longdouble, np.float16])
def test_floats_that_torch_does_not_take_as_they_are(layout: Layout, dtype) -> None:
    """A sender chooses them: they are converted, and end no run."""
    vector, counters = torch.ones(layout.size), torch.zeros(layout.num_counters, dtype=torch.int64)
    arrays = to_arrays(layout, vector, counters)
    name = next(e.name for e in layout.entries if e.kind is not Kind.COUNTER)
    changed = ArrayRecord({**arrays, name: Array(arrays[name].numpy().astype(dtype))})
    assert torch.equal(from_arrays(layout, changed, vector)[0], vector)
