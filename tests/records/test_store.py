from __future__ import annotations

import dataclasses
import os
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore import Scenario, run
from fedcore.engine.execution import Execution
from fedcore.errors import StoreError
from fedcore.records.inputs import inputs_of
from fedcore.records.record import Record
from fedcore.records.store import Run, Store, StoreWarning, write_atomically

TINY = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=1)
INPUTS = inputs_of(TINY, Path(), Execution("sequential", "cpu"))
RUN = Run(TINY, 0)


@pytest.fixture(scope="module")
def record() -> Record:
    return run(TINY, seed=0, device="cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_a_record_comes_back_equal(store: Store, record: Record) -> None:
    assert store.get(RUN, INPUTS) is None
    path = store.put(RUN, INPUTS, record)
    assert path == store.path(RUN, INPUTS)
    assert path.is_relative_to(store.root)
    assert store.get(RUN, INPUTS) == record
    assert Store(store.root).get(RUN, INPUTS) == record


def test_a_long_path_of_a_data_set_still_names_a_file(store: Store, record: Record) -> None:
    scenario = TINY.but(dataset=f"npz:{'deep/' * 80}set.npz")
    long = dataclasses.replace(record, scenario=scenario)
    place = store.put(Run(scenario, 0), INPUTS, long)
    assert store.get(Run(scenario, 0), INPUTS) is not None
    assert max(map(len, place.parts)) <= 255  # what file systems take
    assert scenario.id.startswith(place.parent.name)
    other = scenario.but(dataset=f"npz:{'deep/' * 80}other.npz")
    assert store.path(Run(other, 0), INPUTS) != place


@given(
    st.fixed_dictionaries(
        {
            "data": st.text(max_size=3),
            "weights": st.none() | st.text(max_size=3),
            "code": st.text(max_size=3),
            "foreign": st.just(()) | st.tuples(st.tuples(st.text(), st.text())),
            "versions": st.just(()) | st.tuples(st.tuples(st.text(), st.text())),
            "kernels": st.text(max_size=3),
            "machine": st.text(max_size=3),
            "engine": st.text(max_size=3),
        }
    )
)
def test_the_key_depends_on_every_input_alone(changes: dict[str, Any]) -> None:
    store = object.__new__(Store)  # no directory needed to name a path
    store.root = Path("results")
    here = store.path(RUN, INPUTS)
    for name, value in changes.items():
        changed = dataclasses.replace(INPUTS, **{name: value})
        assert (store.path(RUN, changed) == here) == (changed == INPUTS)


def test_the_key_depends_on_scenario_and_seed(store: Store) -> None:
    others = [Run(TINY, 1), Run(TINY.but(batch_size=16), 0), Run(TINY.but(lr=0.3), 0)]
    assert len({store.path(other, INPUTS) for other in [RUN, *others]}) == 4
    # values that print alike when joined must not be one key
    split = dataclasses.replace(INPUTS, data="dc", code="")
    assert store.path(RUN, split) != store.path(RUN, INPUTS)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    store: Store, record: Record, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = store.put(RUN, INPUTS, record)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(StoreError, match=r"seed0-.*No space left on device"):
            store.put(RUN, INPUTS, dataclasses.replace(record, model_digest="0" * 16))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: text[: len(text) // 2], "not a record"),
        (lambda text: text.replace('"schema": 2', '"schema": 99'), "schema 99"),
        (lambda text: text.replace('"accuracy"', '"acuracy"'), "damaged"),
        (lambda text: text.replace('"seed": 0', '"seed": 7'), "checksum does not fit"),
        (lambda text: text + " ", "not as it was written"),
        (lambda text: "[" * 100_000, "not a record"),
        (lambda text: text.replace('"seed": 0', f'"seed": {"9" * 5000}'), "not a record"),
        (lambda text: text.replace('"seed": 0', '"seed": 1e999'), "not a record"),
        (lambda text: text.replace('"seed": 0', '"seed": NaN'), "not a record"),
        (lambda text: text.replace('"seed": 0', '"seed": 0, "seed": 0'), "stands twice"),
        (lambda text: "", "not a record"),
        (lambda text: "\udcff", "decode"),
    ],
    ids=[
        "truncated",
        "schema",
        "field",
        "seed",
        "layout",
        "depth",
        "digits",
        "infinite",
        "nan",
        "twice",
        "empty",
        "encoding",
    ],
)
def test_an_unreadable_record_is_set_aside(
    store: Store, record: Record, damage: Any, reason: str
) -> None:
    path = store.put(RUN, INPUTS, record)
    damaged = damage(path.read_text()).encode(errors="surrogateescape")
    path.write_bytes(damaged)
    with pytest.warns(StoreWarning, match=f"(?s){reason}.*made again"):
        assert store.get(RUN, INPUTS) is None
    assert path.with_suffix(".unreadable").read_bytes() == damaged
    assert not path.exists()
    store.put(RUN, INPUTS, record)
    assert store.get(RUN, INPUTS) == record


def changed(record: Record, **parts: Any) -> Record:
    """``record`` with other values in its provenance."""
    return dataclasses.replace(record, provenance=dataclasses.replace(record.provenance, **parts))


OTHER = "0123456789abcdef"
#: A record that was made from something else than the key says, and the part that says so.
FOREIGN = [
    (lambda r: changed(r, data=OTHER), f"data {OTHER}, not ", "data synthetic:400 changed"),
    (lambda r: changed(r, weights=OTHER), "damaged: weights must have a digest", "weights changed"),
    (lambda r: changed(r, code=OTHER), f"code {OTHER}, not ", "code changed"),
    (
        lambda r: changed(r, foreign=(("strategy", OTHER),)),
        f"foreign strategy {OTHER}, not None",
        "foreign strategy changed",
    ),
    (
        lambda r: changed(r, versions=(*r.provenance.versions, ("zlib", "1"))),
        "versions zlib 1, not None",
        "versions zlib changed",
    ),
    (lambda r: changed(r, kernels=OTHER), f"kernels {OTHER}, not ", "kernels changed"),
    (lambda r: changed(r, machine="abacus"), "machine abacus, cpu, not ", "machine changed"),
    (lambda r: changed(r, device="abacus"), "abacus, not ", "machine changed"),
    (lambda r: dataclasses.replace(r, engine="stacked"), "engine stacked, not ", "engine changed"),
    (lambda r: dataclasses.replace(r, seed=7), "seed 7, not ", "run changed"),
    (
        lambda r: dataclasses.replace(r, scenario=r.scenario.but(lr=0.3)),
        "its scenario must be fedavg-iid-clean",
        "run changed",
    ),
]


@pytest.mark.parametrize(("make", "read", "wrote"), FOREIGN)
def test_a_record_of_another_key_is_neither_written_nor_read(
    store: Store, record: Record, make: Any, read: str, wrote: str
) -> None:
    other = make(record)
    with pytest.raises(StoreError, match=f"{wrote} while the session ran: .*; run again"):
        store.put(RUN, INPUTS, other)
    path = store.path(RUN, INPUTS)
    assert not path.exists()
    path.parent.mkdir(parents=True)
    path.write_text(other.to_json())
    with pytest.warns(StoreWarning, match=f"(?s){re.escape(read)}.*made again"):
        assert store.get(RUN, INPUTS) is None
    assert not path.exists()


@pytest.mark.parametrize("mark", [{"code": "changed"}, {"foreign": (("attack", "unknown"),)}])
def test_code_that_no_digest_stands_for_is_never_stored(
    store: Store, record: Record, mark: Any
) -> None:
    inputs = dataclasses.replace(INPUTS, **mark)
    with pytest.raises(StoreError, match="no digest stands for it"):
        store.put(RUN, inputs, changed(record, **mark))
    assert store.get(RUN, inputs) is None


def test_a_record_that_no_run_has_is_not_written(store: Store, record: Record) -> None:
    with pytest.raises(StoreError, match=r"no run should have: .*accuracy must be in \[0, 1\]"):
        store.put(RUN, INPUTS, dataclasses.replace(record, accuracy=(1.5,)))
    with pytest.raises(StoreError, match="no run should have"):
        store.put(RUN, INPUTS, dataclasses.replace(record, loss=(float("inf"),)))


@pytest.mark.parametrize("kind", ["directory", "fifo", "dangling", "unreadable"])
def test_what_is_no_readable_file_is_set_aside(
    store: Store, record: Record, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.path(RUN, INPUTS)
    path.parent.mkdir(parents=True)
    if kind == "directory":
        path.mkdir()
        (path / "inside").write_text("")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    else:
        store.put(RUN, INPUTS, record)

        def fail(self: Path) -> bytes:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Path, "read_bytes", fail)
    path.with_suffix(".unreadable").write_text("an earlier one")
    with pytest.warns(StoreWarning, match=r"kept as .*\.unreadable1, the run is made again"):
        assert store.get(RUN, INPUTS) is None
    monkeypatch.undo()
    assert path.with_suffix(".unreadable").read_text() == "an earlier one"
    store.put(RUN, INPUTS, record)
    assert store.get(RUN, INPUTS) == record


@pytest.mark.filterwarnings("error")
def test_the_warning_ends_no_session(store: Store) -> None:
    path = store.path(RUN, INPUTS)
    path.mkdir(parents=True)
    with warnings.catch_warnings(record=True) as caught:
        assert store.get(RUN, INPUTS) is None
    assert [w.category for w in caught] == [StoreWarning]


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"--results: .*cannot be written to .*name another"):
        Store(tmp_path / "file" / "below")


def test_probing_leaves_nothing_behind(store: Store) -> None:
    assert [p.name for p in store.root.iterdir()] == ["records"]
