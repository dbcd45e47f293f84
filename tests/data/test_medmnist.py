from __future__ import annotations

import hashlib
import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from fedcore import Scenario
from fedcore.data import medmnist
from fedcore.data.dataset import DATASETS
from fedcore.data.download import fetch
from fedcore.data.loading import load
from fedcore.data.medmnist import CLASS_NAMES, SETS, MedMnistSet
from fedcore.errors import DataError, ScenarioError


def content(labels: tuple[int, ...] = (0, 1, 1)) -> bytes:
    """A file like MedMNIST's with three training and two test images of 4x4 pixels."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        train_images=np.full((3, 4, 4), 7, np.uint8),
        train_labels=np.array(labels, np.uint8)[:, None],
        val_images=np.zeros((1, 4, 4), np.uint8),
        val_labels=np.zeros((1, 1), np.uint8),
        test_images=np.zeros((2, 4, 4), np.uint8),
        test_labels=np.array([[0], [1]], np.uint8),
    )
    return buffer.getvalue()


GOOD = content()
GOOD_MD5 = hashlib.md5(GOOD).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves the good file, half of it, or nothing for too long, by path."""

    release = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/slow/breastmnist.npz":
            self.release.wait(5)
            return
        if self.path not in ("/good/breastmnist.npz", "/half/breastmnist.npz"):
            self.send_error(404)
            return
        body = GOOD if self.path.startswith("/good") else GOOD[: len(GOOD) // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Handler.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def publisher(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The local server in the publisher's place, with the good file's MD5."""
    monkeypatch.setattr(medmnist, "PUBLISHER", f"{server}/good")
    monkeypatch.setitem(SETS, "breastmnist", MedMnistSet(GOOD_MD5, 2, "test"))
    return server


def test_download_then_reuse(
    publisher: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "made" / "on the way"
    dataset = DATASETS["breastmnist"]().load(folder)
    assert [file.name for file in folder.iterdir()] == ["breastmnist.npz"]
    assert (folder / "breastmnist.npz").read_bytes() == GOOD
    assert dataset.train.images.unique().tolist() == [7]
    assert dataset.train.labels.tolist() == [0, 1, 1]
    assert (len(dataset.test), dataset.num_classes, dataset.notes) == (2, 2, ())
    monkeypatch.setattr(medmnist, "PUBLISHER", "http://127.0.0.1:1/nobody")
    assert DATASETS["breastmnist"]().load(folder).digest == dataset.digest


def test_other_local_file_is_used_and_noted(publisher: str, tmp_path: Path) -> None:
    other = content((1, 0, 1))
    (tmp_path / "breastmnist.npz").write_bytes(other)
    dataset = DATASETS["breastmnist"]().load(tmp_path)
    assert dataset.train.labels.tolist() == [1, 0, 1]
    (note,) = dataset.notes
    assert hashlib.md5(other).hexdigest() in note
    assert GOOD_MD5 in note
    assert str(tmp_path) not in note


def test_labels_beyond_the_publishers_classes(publisher: str, tmp_path: Path) -> None:
    (tmp_path / "breastmnist.npz").write_bytes(content((0, 1, 2)))
    with pytest.raises(DataError, match=r"train_labels: labels must be <= 1, got 2"):
        DATASETS["breastmnist"]().load(tmp_path)


@pytest.mark.parametrize(
    ("folder", "md5", "reason"),
    [
        ("good", "0" * 32, f"it must have MD5 {'0' * 32}, got {GOOD_MD5}"),
        ("half", GOOD_MD5, "it must have MD5"),
        ("none", GOOD_MD5, "HTTP Error 404"),
        ("slow", GOOD_MD5, "timed out"),
    ],
)
def test_failed_download_says_what_to_do(
    server: str, tmp_path: Path, folder: str, md5: str, reason: str
) -> None:
    address, path = f"{server}/{folder}/breastmnist.npz", tmp_path / "breastmnist.npz"
    with pytest.raises(DataError) as caught:
        fetch(address, path, md5, timeout=0.2)
    for part in (address, str(path), reason, "--data-dir", "$FEDCORE_DATA", "put the file there"):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_server(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        port = free.getsockname()[1]
        with pytest.raises(DataError, match="refused"):
            fetch(f"http://127.0.0.1:{port}/a.npz", tmp_path / "a.npz", GOOD_MD5)


def test_directory_that_cannot_be_made(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"Error: .*file.*put the file there"):
        fetch(f"{server}/good/breastmnist.npz", tmp_path / "file" / "a.npz", GOOD_MD5)


def test_every_2d_set_is_registered() -> None:
    assert len(SETS) == 11
    assert {name for name in DATASETS if name.endswith("mnist")} == {*SETS, "chestmnist"}
    assert all(len(bytes.fromhex(facts.md5)) == 16 for facts in SETS.values())


def test_multi_label_set_is_refused_with_the_reason(tmp_path: Path) -> None:
    for attempt in (lambda: Scenario(dataset="chestmnist"), lambda: load("chestmnist", tmp_path)):
        with pytest.raises((ScenarioError, DataError), match=r"multi-label .*exactly one class"):
            attempt()


def test_argument_is_refused(tmp_path: Path) -> None:
    for attempt in (
        lambda: Scenario(dataset="bloodmnist:64"),
        lambda: load("bloodmnist:64", tmp_path),
    ):
        with pytest.raises((ScenarioError, DataError), match="takes nothing after a colon"):
            attempt()


def test_publishers_own_file(shared_data: Path) -> None:
    dataset = load("breastmnist", shared_data)
    assert dataset.train.images.shape == (546, 28, 28, 1)
    assert (len(dataset.test), dataset.num_classes) == (156, 2)
    # one image of the publisher's own file stands in both splits, under either label
    assert dataset.notes == (
        "1 of 156 test images (0.641 %) are training images as well, bit for bit; 1 of them with "
        "another label there",
    )
    assert dataset.class_names == ("malignant", "normal, benign")


def test_rebuilt_file_is_noted(shared_data: Path) -> None:
    dataset = load("bloodmnist", shared_data)
    assert dataset.train.images.shape == (11959, 28, 28, 3)
    assert (len(dataset.test), dataset.num_classes) == (3421, 8)
    assert "7053d0359d879ad8a5505303e11de1dc" in dataset.notes[0]


def test_names_are_as_many_as_classes() -> None:
    assert all(len(names) == SETS[name].num_classes for name, names in CLASS_NAMES.items())
    assert set(SETS) - set(CLASS_NAMES) == {"retinamnist"}  # its classes are grades, numbers
