"""Files of the store, edited and damaged at random: none is taken for what a run has written."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from fedcore import Scenario, run
from fedcore.records.store import Inputs, Run, Store, StoreWarning

BASE: dict[str, Any] = {"dataset": "synthetic:400", "model": "mlp", "num_clients": 6, "rounds": 3}
SCENARIOS = {
    "targeted": Scenario(
        **BASE,
        attack="targetedflip",
        source_class=0,
        target_class=1,
        malicious_fraction=0.5,
        poison_ratio=0.5,
        local_epochs=(1, 3),
    ),
    "private": Scenario(**BASE, privacy="localdp", epsilon=50.0, norm="none"),
}
#: What is put in the place of a value.
VALUES = [
    *(None, True, False, 0, 1, -1, 7, 10**30, 0.0, -0.0, 0.5, 1.0, -0.5, 1.5, 1e300, 1e-300),
    *("", "0", "x", "0123456789abcdef", [], [0], [[]], {}, {"x": 1}, [None], [0.5, 0.5]),
]
Node = Any


@pytest.fixture(scope="module", params=SCENARIOS)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Run, Inputs, str]:
    scenario = SCENARIOS[request.param]
    store, record = Store(tmp_path_factory.mktemp("store")), run(scenario, 0, device="cpu")
    text = store.put(Run(scenario, 0), Inputs.of(record), record).read_text()
    return store, Run(scenario, 0), Inputs.of(record), text


def places(node: Node) -> Iterator[tuple[Node, Any]]:
    """Each (owner, key) in a tree of JSON."""
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from places(node[key])


def edited(values: dict[str, Any], draw: random.Random) -> None:
    """Delete, duplicate, replace, retype, swap or move one node of ``values``."""
    found = list(places(values))
    owner, key = draw.choice(found)
    value = owner[key]
    action = draw.choice(("delete", "duplicate", "replace", "retype", "swap", "nudge"))
    if action == "delete":
        del owner[key]
    elif action == "duplicate" and isinstance(owner, list):
        owner.insert(key, copy.deepcopy(value))
    elif action == "duplicate":
        owner[f"{key}2"] = copy.deepcopy(value)
    elif action == "replace":
        owner[key] = copy.deepcopy(draw.choice(VALUES))
    elif action == "retype":
        retyped = [str(value), [value], {"value": value}, None]
        if isinstance(value, bool | int | float):
            retyped += [float(value), int(value), bool(value)]
        owner[key] = draw.choice(retyped)
    elif action == "swap":
        other, place = draw.choice(found)
        # a node within the other would make a circle
        owner[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(value)
    elif isinstance(value, int | float):
        owner[key] = value + draw.choice((-1, 1)) * (1 if isinstance(value, int) else 0.37)


def with_checksum(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` as an editor would leave them who knows how the checksum is made."""
    rest = {name: value for name, value in values.items() if name != "checksum"}
    return {**rest, "checksum": hashlib.sha256(json.dumps(rest).encode()).hexdigest()[:16]}


def taken(store: Store, run: Run, inputs: Inputs, content: bytes) -> bool:
    """Whether ``content`` is taken for a record; that it is not must be said by a StoreWarning."""
    path = store.path(run, inputs)
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = store.get(run, inputs)
    for aside in path.parent.glob("*.unreadable*"):
        aside.unlink()
    assert [w.category for w in caught] == [StoreWarning] * (record is None)
    return record is not None


#: Values whose absence says something: a class without test samples, a source that is unknown, a
#: record of before.
FREE = {"loss", "recall", "data_notes", "commit", "dirty", "notes", "excluded"}
FREE |= {"epsilon_nominal", "epsilon_round", "clipped", "changed", "rates"}
FREE |= {"client_accuracy", "shares"}


def shape(node: Node) -> Node:
    """The tree of types below ``node``, but for what may be there or not."""
    if isinstance(node, dict):
        return {key: shape(value) for key, value in node.items() if key not in FREE}
    if isinstance(node, list):
        return [shape(value) for value in node]
    return type(node).__name__


def structural(case: Any, count: int, seed: int) -> None:
    store, run, inputs, text = case
    draw = random.Random(seed)
    for _ in range(count):
        values = json.loads(text)
        edited(values, draw)
        if (written := json.dumps(values)) != text:
            assert not taken(store, run, inputs, written.encode()), written


def rewritten(case: Any, count: int, seed: int) -> int:
    """The same by an editor who mends the checksum; how many were taken."""
    store, run, inputs, text = case
    draw, accepted = random.Random(seed), 0
    for _ in range(count):
        values = json.loads(text)
        edited(values, draw)
        values = with_checksum(values)
        written = json.dumps(values)
        if written != text and taken(store, run, inputs, written.encode()):
            accepted += 1
            # a measurement may have become another one, never what the file is made of
            assert shape(values) == shape(json.loads(text)), written
            for name in ("scenario", "seed", "id", "rounds"):
                assert values[name] == json.loads(text)[name]
    return accepted


def flipped(case: Any, count: int, seed: int) -> None:
    store, run, inputs, text = case
    draw, content = random.Random(seed), text.encode()
    for _ in range(count):
        place, bit = draw.randrange(len(content)), draw.randrange(8)
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        assert not taken(store, run, inputs, bytes(damaged)), damaged[place - 20 : place + 20]


def test_the_file_itself_is_taken(case: Any) -> None:
    store, run, inputs, text = case
    assert taken(store, run, inputs, text.encode())


def test_no_structural_edit_is_taken(case: Any) -> None:
    structural(case, 750, 1)


def test_what_an_editor_can_pass_off_is_a_measurement(case: Any) -> None:
    assert rewritten(case, 500, 2) < 100


def test_no_flipped_bit_is_taken(case: Any) -> None:
    flipped(case, 350, 3)


@pytest.mark.slow
def test_thousands_of_edits_and_flips(case: Any) -> None:
    structural(case, 4500, 4)
    assert rewritten(case, 4500, 5) < 900
    flipped(case, 2000, 6)
