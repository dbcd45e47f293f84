"""Checks of what each kind of component promises, apart from a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from fedcore.components.component import Component
from fedcore.exchange.cohort import Cohort, Memory, ServerState
from fedcore.federation.federation import Federation
from fedcore.scenario import Scenario
from fedcore.streams import Purpose, torch_stream

_SIZE = 12  # coordinates of a made-up model
_BUFFERS = 3  # of these coordinates, where there are any
_RATIO = 0.5  # of an attack on data that has none


def prepared(part: Component) -> Component:
    """``part``; an attack on data without a poison ratio with one."""
    if part.parameters().get("poison_ratio") == 0 and "poison_ratio" in part.specs():
        return type(part)(**{**part.parameters(), "poison_ratio": _RATIO})
    return part


def problems(part: Component, scenario: Scenario, seed: int) -> Iterator[str]:
    """Where ``part`` breaks what its kind promises; ``scenario`` is one that names it."""
    checks: dict[str, Callable[[Any, Scenario, int], Iterator[str]]] = {
        "strategy": _strategy,
        "preaggregation": _preaggregation,
        "attack": _attack,
        "partition": _dealt,
        "dataset": _loaded,
        "model": _built,
        "optimizer": _solved,
    }
    if part.kind in checks:
        yield from checks[part.kind](part, scenario, seed)


def cohort_of(size: int, *, zero: bool = False) -> Cohort:
    """A made-up cohort of ``size`` clients of unequal samples and work."""
    generator = torch.Generator().manual_seed(0)
    updates = torch.randn(size, _SIZE, generator=generator)
    return Cohort(
        clients=tuple(range(size)),
        updates=torch.zeros_like(updates) if zero else updates,
        counters=torch.zeros(size, 0, dtype=torch.int64),
        samples=tuple(range(10, 10 + 7 * size, 7)),
        steps=tuple(range(1, size + 1)),
        normalizers=tuple(float(step) for step in range(1, size + 1)),
        root=torch.randn(_SIZE, generator=generator),
    )


def _strategy(part: Any, scenario: Scenario, seed: int) -> Iterator[str]:
    """Clients that change nothing, a value that is not finite, inputs that must stay."""
    if part.foreign:
        return
    state = ServerState(torch.ones(_SIZE), torch.zeros(0, dtype=torch.int64))
    idle = part.aggregate(state, cohort_of(scenario.rows, zero=True), _SIZE).vector
    if not part.adds_noise and not torch.equal(idle, state.vector):
        yield "it moves the model although no client changed anything"
    cohort = cohort_of(scenario.rows)
    before, rows = state.vector.clone(), cohort.updates.clone()
    state.memory = Memory()
    once = part.aggregate(state, cohort, _SIZE).vector
    if not torch.equal(state.vector, before) or not torch.equal(cohort.updates, rows):
        yield "it writes into the model or the updates that it is given"
    state.memory = Memory()
    if not torch.equal(part.aggregate(state, cohort, _SIZE).vector, once):
        yield "a second step from the same state is another: keep what lasts in memory"
    if once.dtype != before.dtype or once.shape != before.shape:
        yield f"its model has type {once.dtype} and shape {tuple(once.shape)}"
    yield from _buffers(part, cohort)
    rows[0] = torch.nan
    state.memory = Memory()
    broken = part.aggregate(state, dataclasses.replace(cohort, updates=rows), _SIZE).vector
    if broken.shape != before.shape:
        yield "an update that is not finite leaves no model behind"


def _buffers(part: Any, cohort: Cohort) -> Iterator[str]:
    """Float buffers and counters follow ``buffer_rule``, whatever the rule for parameters is."""
    size = len(cohort.clients)
    sent = dataclasses.replace(cohort, counters=torch.arange(size).flip(0)[:, None])
    before = ServerState(torch.ones(_SIZE), torch.zeros(1, dtype=torch.int64))
    after = part.aggregate(before, sent, _SIZE - _BUFFERS)
    rows = cohort.updates[:, -_BUFFERS:].numpy()
    if part.buffer_rule == "median":
        what, due, count = "the median", np.median(rows, axis=0), (size - 1) // 2
    else:
        what, count = "the sample-weighted mean, integers the maximum", size - 1
        due = cohort.weights.numpy() @ rows
    if not np.allclose(after.vector[-_BUFFERS:].numpy(), 1 + due, atol=1e-4):
        yield f"its float buffers (BatchNorm's running statistics) are not {what} of the clients'"
    if int(after.counters[0]) != count:
        yield f"its integer buffers do not follow buffer_rule={part.buffer_rule!r}: {what}"


def _preaggregation(part: Any, scenario: Scenario, seed: int) -> Iterator[str]:
    """As many rows as announced, the same ones when repeated, inputs that stay."""
    for size in sorted({scenario.cohort_size, scenario.cohort_size - 1, 2 * scenario.cohort_size}):
        cohort = cohort_of(size)
        rows = cohort.updates.clone()
        made = [
            part.mix(cohort.updates, cohort, torch_stream(seed, Purpose.PREAGGREGATION, round=1))
            for _ in range(2)
        ]
        (one, facts), (other, _) = made
        if len(one) != part.rows(size) or len(facts.clients) != len(one):
            yield f"it makes {len(one)} rows of {size}, its rows() says {part.rows(size)}"
        if not torch.equal(one, other):
            yield "a second pass of one generator makes other rows"
        if not torch.equal(cohort.updates, rows):
            yield "it writes into the updates that it is given"


def _attack(part: Any, scenario: Scenario, seed: int) -> Iterator[str]:
    """The same poison when it is drawn again; where it may act is a rule of every scenario."""
    federation, again = _federation(scenario, seed), _federation(scenario, seed)
    if federation.threat.audit() != again.threat.audit():
        yield "a second draw of one seed poisons other samples"


def _dealt(part: Any, scenario: Scenario, seed: int) -> Iterator[str]:
    """Samples of one client at most each; the same when repeated."""
    federation, again = _federation(scenario, seed), _federation(scenario, seed)
    dealt = np.concatenate(federation.parts)
    if len(dealt) != len(set(dealt.tolist())):
        yield "it deals a sample to several clients"
    pairs = zip(federation.parts, again.parts, strict=True)
    if not all(np.array_equal(one, other) for one, other in pairs):
        yield "it deals one seed in two ways: draw from the generator that is given"


def _loaded(part: Any, scenario: Scenario, seed: int) -> Iterator[str]:
    """uint8 images, labels in range, the same when read again."""
    federation = _federation(scenario, seed)
    data = federation.dataset
    size = (scenario.image_size,) if part.resizes else ()
    again = part.load(federation.data_dir, *size)  # not by the loader, which reads a set once
    for name, split in (("train", data.train), ("test", data.test)):
        if split.images.dtype != torch.uint8 or split.images.ndim != 4:
            yield f"{name} images must be uint8 [n, height, width, channels]"
        if split.labels.dtype != torch.int64 or len(split.labels) != len(split.images):
            yield f"{name} labels must be int64, one an image"
        elif int(split.labels.min()) < 0 or int(split.labels.max()) >= data.num_classes:
            yield f"{name} labels must be in [0, {data.num_classes - 1}]"
    if data.digest != again.digest:
        yield "it has another digest when it is read again"


def _built(part: Any, scenario: Scenario, seed: int) -> Iterator[str]:
    """The same weights when built again; the scores are judged as a run builds it."""
    federation = _federation(scenario, seed)
    one, other = federation.initial_model(), federation.initial_model()
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    if not all(torch.equal(a, b) for a, b in pairs):
        yield "one seed gives two initial models: draw from torch's generator"


def _solved(part: Any, scenario: Scenario, seed: int) -> Iterator[str]:
    """Steps that move, forget the client before, and are the same for one client and for many."""
    generator = torch.Generator().manual_seed(seed)
    first, *slopes = torch.randn(4, 3, _SIZE, generator=generator)

    def ended(solver: Any, start: torch.Tensor, rows: Any) -> torch.Tensor:
        weights = start.clone()
        solver.start(start.clone())
        for slope in slopes:
            solver.step(weights, slope[rows].clone())
        return weights

    solver = part.solver(scenario)
    many = ended(solver, first, slice(None))
    if torch.equal(many, first):
        yield "its steps move nothing"
    if not torch.equal(ended(solver, first, slice(None)), many):
        yield "a second client goes on where the first one ended: start must forget"
    for row, alone in enumerate(many):
        if not torch.allclose(ended(solver, first[row], row), alone, rtol=1e-6, atol=1e-6):
            yield "it steps otherwise for one client [P] than for many [K, P]"
            break
    normalizer = solver.normalizer(3)
    if normalizer is not None and not normalizer > 0:
        yield f"its normalizer of 3 steps is {normalizer}, which must be positive, or None"


def _federation(scenario: Scenario, seed: int) -> Federation:
    return Federation.prepare(scenario, seed, None, torch.device("cpu"))
