"""CIFAR-10 from an archive of the publisher's form, made here; and hostile ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedcore import Scenario, run
from fedcore.data import cifar10, loading
from fedcore.data.loading import known_classes, load
from fedcore.data.pickled import read_pickle
from fedcore.errors import DataError
from fedcore.harness.proofs.judge import training_problems

RNG = np.random.default_rng(0)
DATA = [RNG.integers(0, 256, (12, 3072), dtype=np.uint8) for _ in range(6)]
LABELS = [[(7 * i + k) % 10 for k in range(12)] for i in range(6)]


def text(value: bytes) -> bytes:
    """A text as Python 2 writes it."""
    return b"U" + bytes([len(value)]) + value


def python2(data: np.ndarray, labels: list[int], name: bytes = b"numpy.core.multiarray") -> bytes:
    """A batch as Python 2 and its numpy pickled it, operation by operation."""
    raw = data.tobytes()
    array = (
        b"c" + name + b"\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01" + b"".join(b"M" + struct.pack("<H", n) for n in data.shape) + b"\x86"
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([n]) for n in labels) + b"e"
    return (
        b"\x80\x02}q\x01(" + text(b"batch_label") + text(b"training batch 1 of 5")
        + text(b"labels") + numbers + text(b"data") + array
        + text(b"filenames") + b"](" + text(b"leptodactylus_s_000004.png") + b"eu."
    )  # fmt: skip


def packed(batches: list[bytes], more: dict[str, bytes] | None = None) -> bytes:
    names = [*[f"data_batch_{k}" for k in range(1, 6)], "test_batch"]
    files = {"cifar-10-batches-py/readme.html": b"hello", **(more or {})}
    files |= {f"cifar-10-batches-py/{n}": b for n, b in zip(names, batches, strict=True)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


GOOD = packed([python2(d, n) for d, n in zip(DATA, LABELS, strict=True)])


@pytest.fixture(autouse=True)
def forget() -> Any:
    yield
    loading._load.cache_clear()


def publish(content: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``content`` as the archive in ``folder``, with its digests as the publisher's."""
    (folder / cifar10.ARCHIVE).write_bytes(content)
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(content).hexdigest())
    return folder


def test_images_and_labels_are_those_of_the_batches(tmp_path, monkeypatch) -> None:
    dataset = load("cifar10", publish(GOOD, tmp_path, monkeypatch))
    assert tuple(dataset.train.images.shape) == (60, 32, 32, 3)
    assert tuple(dataset.test.images.shape) == (12, 32, 32, 3)
    assert dataset.train.labels.tolist() == [n for labels in LABELS[:5] for n in labels]
    assert dataset.test.labels.tolist() == LABELS[5]
    # sample 1 of batch 3, row 4, column 5: red, green and blue lie 1,024 apart
    place = 4 * 32 + 5
    expected = [DATA[2][1, place + 1024 * colour] for colour in range(3)]
    assert dataset.train.images[25, 4, 5].tolist() == expected
    assert dataset.num_classes == 10
    assert dataset.class_names[3] == "cat"
    assert dataset.notes == ()


def test_a_run_by_name_is_proven(tmp_path, monkeypatch) -> None:
    folder = publish(GOOD, tmp_path, monkeypatch)
    scenario = Scenario(dataset="cifar10", num_clients=3, rounds=1, batch_size=8)
    record = run(scenario, 0, data_dir=folder, device="cpu")
    assert record.scenario.id == "fedavg-iid-clean-cifar10-clients3-rounds1-batchsize8"
    assert training_problems(record, folder) == []
    assert known_classes("cifar10", folder) == 10


def test_pickles_of_today_read_alike(tmp_path, monkeypatch) -> None:
    batches = [
        pickle.dumps({b"data": d, b"labels": n}, protocol=3 + k % 2)
        for k, (d, n) in enumerate(zip(DATA, LABELS, strict=True))
    ]
    dataset = load("cifar10", publish(packed(batches), tmp_path, monkeypatch))
    assert dataset.test.images[0, 0, 0].tolist() == DATA[5][0, ::1024].tolist()


def test_it_is_fetched_where_the_net_is_and_named_where_not(tmp_path, monkeypatch) -> None:
    source = tmp_path / "server"
    source.mkdir()
    publish(GOOD, source, monkeypatch)
    monkeypatch.setattr(cifar10, "ADDRESS", (source / cifar10.ARCHIVE).as_uri())
    assert len(load("cifar10", tmp_path / "new").train) == 60
    assert (tmp_path / "new" / cifar10.ARCHIVE).read_bytes() == GOOD
    monkeypatch.setattr(cifar10, "MD5", "0" * 32)
    with pytest.raises(DataError, match=r"is not there, and downloading it .* must have MD5 0000"):
        load("cifar10", tmp_path / "other")
    assert not list((tmp_path / "other").iterdir()), "a file of another digest is not kept"


def test_any_other_file_is_refused_before_it_is_read(tmp_path, monkeypatch) -> None:
    (tmp_path / cifar10.ARCHIVE).write_bytes(GOOD)
    monkeypatch.setattr(tarfile, "open", lambda **_: pytest.fail("it was opened"))
    with pytest.raises(DataError, match=r"publisher's archive with SHA-256 6d958be074577803\.\.\."):
        load("cifar10", tmp_path)


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cifar10, "_MOST_BYTES", 1000)
    with pytest.raises(DataError, match="of more than 1000 bytes"):
        load("cifar10", publish(GOOD, tmp_path, monkeypatch))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:2000], "cannot be read as an archive"),
        (gzip.compress(b"no archive"), "cannot be read as an archive"),
        (
            packed([python2(DATA[0], LABELS[0])] * 6, {f"x{k}": b"" for k in range(70)}),
            "it holds more than 64 files",
        ),
        (packed([python2(DATA[0], LABELS[0][:3])] * 6), "3 labels for 12 images"),
        (packed([python2(DATA[0][:, :100], LABELS[0])] * 6), r"must hold b'data' \[n, 3072\]"),
        (packed([pickle.dumps([1])] * 6), r"must hold b'data' \[n, 3072\]"),
        (packed([python2(DATA[0], [11] * 12)] * 6), "labels must be <= 9, got 11"),
    ],
)
def test_archives_of_another_form_are_refused(content, message, tmp_path, monkeypatch) -> None:
    with pytest.raises(DataError, match=message):
        load("cifar10", publish(content, tmp_path, monkeypatch))


def test_files_that_are_too_large_or_missing_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cifar10, "_MOST_OF_A_FILE", 100)
    with pytest.raises(DataError, match="data_batch_1 is no single file of 100 bytes"):
        load("cifar10", publish(GOOD, tmp_path, monkeypatch))
    monkeypatch.setattr(cifar10, "_MOST_OF_A_FILE", 1 << 20)
    monkeypatch.setattr(cifar10, "_TEST", ("cifar-10-batches-py/elsewhere",))
    with pytest.raises(DataError, match="elsewhere missing"):
        load("cifar10", tmp_path)


class Evil:
    """Runs a command of its maker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_a_pickle_that_would_run_something_runs_nothing(tmp_path, monkeypatch) -> None:
    marker = tmp_path / "ran"
    for protocol in range(6):
        hostile = pickle.dumps({"data": Evil(marker), "labels": [0]}, protocol=protocol)
        with pytest.raises(DataError, match=r"it names \w+\.mkdir|has the operation"):
            read_pickle(hostile, "a file")
        content = packed([hostile, *[python2(DATA[0], LABELS[0])] * 5])
        with pytest.raises(DataError, match="data_batch_1: must be a pickle of numbers, texts"):
            load("cifar10", publish(content, tmp_path, monkeypatch))
    assert not marker.exists()
    pickle.loads(pickle.dumps(Evil(marker)))
    assert marker.exists(), "it would have run"


HUGE = b"(K\x01J\xff\xff\xff\x7f\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89U\x01xtb."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "it names os.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", "it names builtins.eval"),
        (b"cnumpy\nload\n(S'x'\ntR.", "it names numpy.load"),
        (b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", "numpy's array is not called"),
        (b"cnumpy\ndtype\n}b.", "a name has no state"),
        (b"cnumpy\ndtype\n.", "it holds a _Name"),
        (b"cnumpy\ndtype\n(tR.", "numpy's type is not called"),
        (b"(ios\nsystem\nS'true'\n.", "it has the operation INST"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "it has the operation NEWOBJ"),
        (b"\x80\x02\x82\x01.", "it has the operation EXT1"),
        (b"S'x'\nQ.", "it has the operation BINPERSID"),
        (b"N\x72\xff\xff\xff\x7f.", "it stores at place 2147483647"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(tR.", "an array has no state"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(tR" + HUGE, "do not fill its shape"),
        (b"\x80\x02}q\x01(U\x01a", "ValueError"),
        (b"", "ValueError"),
        (python2(DATA[0], LABELS[0], b"os.multiarray"), "it names os.multiarray._reconstruct"),
        (pickle.dumps({b"data": np.zeros(3)}, 4), "an array is not of uint8"),
        (pickle.dumps(np.array([os.getcwd], object), 4), "it names"),
        (pickle.dumps({1.5: 2}, 4), "it has the operation BINFLOAT"),
    ],
)  # fmt: skip
def test_hostile_and_damaged_pickles_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=f"^somewhere: must be a pickle .*{message}"):
        read_pickle(content, "somewhere")


def test_what_is_allowed_reads_as_it_was() -> None:
    value = {b"a": [1, -1, 70000, True, None], "b": (b"x", "y"), b"c": np.arange(6, dtype=np.uint8)}
    found = read_pickle(pickle.dumps(value, 4), "here")
    assert found.pop(b"c").tolist() == [0, 1, 2, 3, 4, 5]
    del value[b"c"]
    assert found == value
    turned = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    assert read_pickle(pickle.dumps(turned, 4), "here").tolist() == turned.tolist()


def test_lists_within_lists_that_grow_for_ever_are_refused() -> None:
    """Each of 40 lists holds the one before twice: some hundred bytes for 2^40 values."""
    doubled = b"".join(b"](h%ch%ceq%c" % (i - 1, i - 1, i) for i in range(1, 40))
    with pytest.raises(DataError, match="more values than bytes"):
        read_pickle(b"\x80\x02]q\x00" + doubled + b".", "somewhere")
