"""Random replies: none may end a strategy's run, or leave a model that is not finite.

In each round up to three of eight clients send what a seeded generator makes of an honest reply:
one to three changes to arrays, bytes, metrics or the message. The honest ones go on as they are.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Error,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import Strategy

from docs.flower.forms import CLIENTS, FORMS, SHAPES, headed, raw, saved
from fedcore.flower.client_app import who
from fedcore.flower.local import LocalGrid

_HOSTILE = 3  # of a round, at most
_NUMBERS = (
    *(0, 1, -1, 2, 2**31, 2**53, 2**62, -(2**62), 10**9, 10**12, 10**20, 10**400),
    *(0.0, -0.0, 0.5, -1.0, 1e-300, 5e-324, 1e300, 1e38, 3.4e38, -3.4e38, 1e20),
    *(float("nan"), float("inf"), float("-inf"), True, False),
)
_TYPES = (
    *("f2", "f4", "f8", "g", ">f2", ">f4", ">f8", "i1", "i2", "i4", "i8", "u1", "u4", "u8", ">i8"),
    *("?", "F", "D", "S3", "U3", "M8[s]", "m8[s]", "V4"),
)
_KEYS = ("num-examples", "steps", "normalizer", "client", "loss", "secret-noise", "x" * 300, "")


def outcomes(
    make: Callable[[], Strategy], replies: int, seed: int = 0
) -> tuple[Counter[str], list[str]]:
    """What became of at least ``replies`` random replies to the strategy that ``make`` gives.

    Counts: ``replies``, ``rounds``, ``left out`` (replies), ``idle`` (rounds that change nothing).
    And what must not happen, each as a line with the round's number; an exception ends the run.
    """
    chance, found = random.Random(f"{seed}"), Counter[str]()
    strategy, problems = make(), list[str]()
    grid = LocalGrid(ClientApp(), CLIENTS)
    grid.app.query()(who)
    model = _model({name: np.zeros(shape) for name, shape in SHAPES.items()}, 5)
    while found["replies"] < replies and not problems:
        found["rounds"] += 1
        number = found["rounds"]
        try:
            asked = list(strategy.configure_train(number, model, ConfigRecord(), grid))
            sent = _round(asked, model, chance, found)
            before = len(strategy.excluded)
            made, _ = strategy.aggregate_train(number, sent)
            found["left out"] += len(strategy.excluded) - before
        except Exception as error:  # whatever it is, it has ended the run
            problems.append(f"round {number}: {type(error).__name__}: {error!s:.200}")
            break
        if made is None:
            found["idle"] += 1
            continue
        problems += [f"round {number}: {text}" for text in _odd(made)]
        # clients start again from a model of ordinary size: else one capture were the last
        model = _model({name: np.zeros(shape) for name, shape in SHAPES.items()}, 5)
    return found, problems


def report(makers: Mapping[str, Callable[[], Strategy]], replies: int, seed: int) -> int:
    """Print what became of ``replies`` random replies for each of ``makers``; 1 if a run ended."""
    begun, total, wrong = time.perf_counter(), 0, 0
    print(f"{'strategy':<24}{'replies':>8}{'left out':>10}{'rounds':>8}{'idle':>8}  result")
    for name, make in makers.items():
        found, problems = outcomes(make, replies, seed)
        wrong += bool(problems)
        total += found["replies"]
        counts = (
            f"{found['replies']:>8}{found['left out']:>10}{found['rounds']:>8}{found['idle']:>8}"
        )
        print(f"{name:<24}{counts}  {'; '.join(problems) or 'ends no run'}", flush=True)
    print(f"{total} replies, {wrong} runs ended, {time.perf_counter() - begun:.0f} s")
    return int(wrong > 0)


def _model(values: Mapping[str, Any], steps: int) -> ArrayRecord:
    arrays = {name: Array(np.asarray(value, np.float32)) for name, value in values.items()}
    return ArrayRecord({**arrays, "steps": Array(np.array(steps))})


def _odd(made: ArrayRecord) -> list[str]:
    """What no aggregation may give back: another form, or values that are not finite."""
    if set(made) != set(SHAPES):
        return [f"the model has arrays {sorted(made)}"]
    found = []
    for name, shape in SHAPES.items():
        value, kind = made[name].numpy(), "i" if name == "steps" else "f"
        if value.shape != shape or value.dtype.kind != kind:
            found.append(f"{name} is {value.dtype} of shape {value.shape}")
        elif not np.isfinite(value).all():
            found.append(f"{name} is not finite")
    return found


def _round(
    asked: list[Message], model: ArrayRecord, chance: random.Random, found: Counter[str]
) -> list[Message]:
    """The replies of a round, in a random order, some of them hostile."""
    hostile = set(chance.sample(range(len(asked)), chance.randint(1, min(_HOSTILE, len(asked)))))
    sent: list[Message] = []
    for place, message in enumerate(asked):
        node = int(message.metadata.dst_node_id)
        step = 0.1 + 0.01 * np.random.default_rng(node).standard_normal(12)
        arrays: dict[str, Any] = {
            name: np.asarray(model[name].numpy() + step[: int(np.prod(shape))].reshape(shape),
                             np.float32)
            for name, shape in SHAPES.items() if name != "steps"
        }  # fmt: skip
        arrays["steps"] = model["steps"].numpy() + 2
        metrics = {"num-examples": 10, "client": node - 2, "steps": 2, "normalizer": 2.0}
        if place not in hostile:
            sent.append(_reply(message, arrays, metrics))
            continue
        found["replies"] += 1
        made = _forged(message, arrays, metrics, chance)
        sent += made * chance.choice((1, 1, 1, 1, 2, 5))  # some come more than once
    chance.shuffle(sent)
    return sent


def _reply(message: Message, arrays: Mapping[str, Any], metrics: Mapping[str, Any]) -> Message:
    record = ArrayRecord()
    for name, value in arrays.items():
        record[name] = value if isinstance(value, Array) else Array(np.asarray(value))
    content = RecordDict({"arrays": record, "metrics": _metrics(metrics)})
    return Message(content, reply_to=message)


def _metrics(values: Mapping[str, Any]) -> MetricRecord:
    """A record of those ``values`` that Flower itself lets into one."""
    record = MetricRecord()
    for key, value in values.items():
        with contextlib.suppress(TypeError, ValueError):
            record[key] = value
    return record


def _forged(
    message: Message, arrays: dict[str, Any], metrics: dict[str, Any], chance: random.Random
) -> list[Message]:
    if chance.random() < 0.2:  # of whole arrays, so that these come first
        FORMS[chance.choice(list(FORMS))](arrays, metrics)
    for _ in range(chance.randint(0, 3)):
        kind = chance.randrange(1, 6)
        if kind in (1, 2) and arrays:
            name = chance.choice(list(arrays))
            arrays[name] = _array(SHAPES.get(name, ()), chance)
        elif kind == 3 and arrays:
            name = chance.choice(list(arrays))
            value = arrays[name]
            data = value.data if isinstance(value, Array) else saved(value)
            arrays[name] = raw(
                _bytes(data, chance), chance.choice(["numpy.ndarray"] * 5 + ["", "x"])
            )
        elif kind == 4:
            number = chance.choice(_NUMBERS)
            metrics[chance.choice(_KEYS)] = chance.choice([number, [number] * chance.randrange(4)])
        elif kind == 5 and metrics:
            metrics.pop(chance.choice(list(metrics)))
    reply = _reply(message, arrays, metrics)
    return _enveloped(reply, message, chance)


def _enveloped(reply: Message, message: Message, chance: random.Random) -> list[Message]:
    kind = chance.randrange(20)
    if kind == 0:
        return [Message(Error(code=chance.randrange(300), reason="x" * 500), reply_to=message)]
    if kind == 1:
        return []
    if kind == 2:
        reply.content[chance.choice(["second", "arrays"])] = ArrayRecord()
    elif kind == 3:
        reply.content["more"] = MetricRecord({"num-examples": chance.choice([1, 10**9])})
    elif kind == 4:
        reply.content["config"] = ConfigRecord({"x": b"1", "y": "z"})
    elif kind == 5:
        for key in list(reply.content)[: chance.randrange(3)]:
            del reply.content[key]
    elif kind == 6:
        reply.metadata.__dict__["_src_node_id"] = chance.choice([0, 1, 2, 5, 99, 2**63])
    elif kind == 7:
        reply.metadata.__dict__["_message_type"] = MessageType.QUERY
    return [reply]


def _array(shape: tuple[int, ...], chance: random.Random) -> Any:
    """An array of any type, shape and order, of numbers that are unlikely to fit."""
    dtype = np.dtype(chance.choice(_TYPES))
    if chance.random() < 0.2:
        shape = chance.choice([(), (0,), (1,), (2, 0), (3, 4), (12,), (1, 4, 3), (4, 3), (3,)])
    if chance.random() < 0.05:
        return raw(saved(np.array([{}] * 3, dtype=object)))
    base = np.zeros(shape)
    number = chance.choice(_NUMBERS)
    with np.errstate(all="ignore"):
        try:
            base[...] = float(number)
            value = base.astype(dtype)
        except (TypeError, ValueError, OverflowError):
            value = np.zeros(shape, dtype)
    return Array(np.asarray(value, order=chance.choice("CF")))


def _bytes(data: bytes, chance: random.Random) -> bytes:
    """``data`` cut, lengthened, with a bit turned, or under another header."""
    kind = chance.randrange(6)
    if kind == 0:
        return data[: chance.randrange(len(data) + 1)]
    if kind == 1:
        return data + chance.randbytes(chance.choice([1, 100, 30_000]))
    if kind == 2:
        return chance.randbytes(chance.randrange(200))
    if kind == 3:
        place = chance.randrange(max(1, len(data)))
        return data[:place] + chance.randbytes(1) + data[place + 1 :]
    shape = chance.choice(
        ["(3,)", "(10000000000,)", "(-1,)", "(2**70,)", "(" * 90, "3", "(3.0,)", "(True,)", "None"]
    )
    descr = chance.choice(["'<f4'", "'|O'", "'<f4,<f4'", "[('a', '|O')]", "'x'", "3", "'>f8'"])
    order = chance.choice(["False", "True", "2"])
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    return headed(text if kind == 4 else text.replace(",", "", 1), chance.randbytes(12))
