from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import nn

from fedcore.errors import ModelError
from fedcore.models import weights
from fedcore.models.mobilenet import MobileNetV2
from fedcore.models.torchvision_import import import_torchvision
from fedcore.models.weights import (
    Published,
    load_weights,
    refuse_weights,
    weights_digest,
    weights_file,
)
from tests.fuzz.boundaries.models import files as hostile_files

CONTENT = b"stands for a checkpoint"
NAME = f"resnet18-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Torch's caches and a data directory, all inside ``tmp_path``; a small resnet18 file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    published = Published(NAME, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    monkeypatch.setitem(weights.IMAGENET_FILES, "resnet18", published)
    return {
        "data": tmp_path / "data",
        "home": tmp_path / "home" / "hub" / "checkpoints",
        "cache": tmp_path / "cache" / "torch" / "hub" / "checkpoints",
    }


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A base address on this machine, and the files that it serves by path."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", files
        http.shutdown()
        thread.join()


def test_no_weights_and_a_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"")
    assert weights_file(None, "cnn", tmp_path) is None
    assert weights_file(str(file), "resnet18", tmp_path) == file
    with pytest.raises(ModelError, match=r"other\.pth' are no file: give an existing path"):
        weights_file(str(tmp_path / "other.pth"), "resnet18", tmp_path)


@pytest.mark.parametrize("place", ["data", "home", "cache"])
def test_imagenet_file_is_found(place: str, caches: dict[str, Path]) -> None:
    caches[place].mkdir(parents=True)
    (caches[place] / NAME).write_bytes(CONTENT)
    found = weights_file("imagenet", "resnet18", caches["data"], base_url="http://127.0.0.1:9")
    assert found == caches[place] / NAME


def test_damaged_imagenet_file_is_refused(caches: dict[str, Path]) -> None:
    caches["data"].mkdir()
    (caches["data"] / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(ModelError, match=r"not the published file.*delete the file"):
        weights_file("imagenet", "resnet18", caches["data"])


def test_model_without_imagenet_weights() -> None:
    with pytest.raises(ModelError, match=r"no ImageNet weights.*'cnn', only for mobilenet_v2"):
        weights_file("imagenet", "cnn", Path())


def test_download_is_kept(server: tuple[str, dict[str, bytes]], caches: dict[str, Path]) -> None:
    address, files = server
    files[f"/{NAME}"] = CONTENT
    found = weights_file("imagenet", "resnet18", caches["data"], base_url=address)
    assert found == caches["data"] / NAME
    assert found.read_bytes() == CONTENT
    files.clear()
    assert weights_file("imagenet", "resnet18", caches["data"], base_url=address) == found
    assert list(caches["data"].iterdir()) == [found]


def test_download_goes_to_the_cache_beside_a_data_directory_that_cannot_be(
    server: tuple[str, dict[str, bytes]], caches: dict[str, Path]
) -> None:
    address, files = server
    files[f"/{NAME}"] = CONTENT
    caches["data"].write_text("a file where the directory should be")
    found = weights_file("imagenet", "resnet18", caches["data"], base_url=address)
    assert found == caches["home"] / NAME


def test_no_place_for_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_writable", lambda folder: False)
    with pytest.raises(ModelError, match="none of them can be written"):
        weights_file("imagenet", "resnet18", tmp_path)


def test_failed_downloads_leave_nothing(
    server: tuple[str, dict[str, bytes]], caches: dict[str, Path]
) -> None:
    address, files = server
    advice = "put the file into one of these folders"
    with pytest.raises(ModelError, match=f"(?s){NAME} in .*HTTP Error 404.*{advice}"):
        weights_file("imagenet", "resnet18", caches["data"], base_url=address)
    files[f"/{NAME}"] = CONTENT[:5]
    with pytest.raises(ModelError, match=rf"SHA256 \w{{64}}, got .* in 5 bytes.*{advice}"):
        weights_file("imagenet", "resnet18", caches["data"], base_url=address)
    with pytest.raises(ModelError, match=r"URLError.*give weights as a path"):
        weights_file("imagenet", "resnet18", caches["data"], base_url="http://127.0.0.1:1")
    assert list(caches["data"].iterdir()) == []


def test_digest(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    # FIPS 180-2, example B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights_digest(file) == digest


def test_refuse_weights() -> None:
    refuse_weights("cnn", None)
    with pytest.raises(ModelError, match="takes no pretrained weights"):
        refuse_weights("cnn", Path("a.pth"))


def small(classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, classes))


def saved(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "weights.pth"
    torch.save(content, file)
    return file


@pytest.mark.parametrize("classes", [5, 1000])
def test_head_of_equal_size_is_loaded(tmp_path: Path, classes: int) -> None:
    source, network = small(classes), small(classes)
    load_weights(network, saved(tmp_path, source.state_dict()), classes)
    assert torch.equal(network[2].weight, source[2].weight)
    assert torch.equal(network[0].weight, source[0].weight)


def test_imagenet_head_stays_fresh(tmp_path: Path) -> None:
    source, network = small(1000), small(5)
    head = network[2].weight.clone()
    load_weights(network, saved(tmp_path, source.state_dict()), 5)
    assert torch.equal(network[0].weight, source[0].weight)
    assert torch.equal(network[2].weight, head)


def test_another_head_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path, small(7).state_dict())
    with pytest.raises(
        ModelError, match=f"another head: {file} .* 7 classes, the data have 5: use"
    ):
        load_weights(small(5), file, 5)


def test_another_network_is_refused_and_nothing_is_loaded(tmp_path: Path) -> None:
    state = small(5).state_dict()
    del state["0.bias"]
    state.update({f"extra{i}": torch.zeros(1) for i in range(5)}, **{"1.weight": torch.zeros(2)})
    network = small(5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_weights(network, saved(tmp_path, state), 5)
    message = str(caught.value)
    assert "1 missing (0.bias)" in message
    assert "5 unexpected (extra0, extra1, extra2, ...)" in message
    assert "1 misshapen (1.weight (2,) for (4,))" in message
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())


def test_counters_that_old_files_lack_are_not_missed(tmp_path: Path) -> None:
    state = small(5).state_dict()
    del state["1.num_batches_tracked"]
    network = small(5)
    load_weights(network, saved(tmp_path, state), 5)
    assert network[1].num_batches_tracked == 0


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {"a": torch.zeros(1)}}])
def test_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(ModelError, match=r"not a state dict.*save network.state_dict"):
        load_weights(small(5), saved(tmp_path, content), 5)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    file = saved(tmp_path, small(5).state_dict())
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(ModelError, match=rf"weights {file} cannot be read.*\(\w+"):
        load_weights(small(5), file, 5)


def test_text_is_no_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_text("<html>not found</html>")
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(small(5), file, 5)


def test_imagenet_weights_give_the_outputs_of_torchvision(shared_data: Path) -> None:
    file = weights_file("imagenet", "mobilenet_v2", shared_data)
    assert file == shared_data / "mobilenet_v2-b0353104.pth"
    plain = import_torchvision().models.mobilenet_v2().eval()
    plain.load_state_dict(torch.load(file, weights_only=True))
    images = torch.randn(2, 3, 64, 64)
    shape = {"channels": 3, "size": (64, 64), "norm": "batch", "weights": file}
    whole = MobileNetV2().build(num_classes=1000, **shape).eval()
    other = MobileNetV2().build(num_classes=8, **shape).eval()
    with torch.no_grad():
        assert torch.equal(whole(images), plain(images))
        assert torch.equal(other.features(images), plain.features(images))
        assert other(images).shape == (2, 8)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("0.weight", torch.full((4, 3), float("nan")), "finite, got 12 numbers"),
        ("1.running_var", torch.full((4,), float("inf")), "finite, got 4 numbers"),
        ("0.weight", torch.zeros(4, 3, dtype=torch.complex64), "floating-point .*complex64"),
        ("0.weight", torch.zeros(4, 3, dtype=torch.int64), "floating-point .*torch.int64"),
        ("0.weight", torch.zeros(4, 3).to_sparse(), "sparse_coo"),
        ("1.num_batches_tracked", torch.tensor(0.5), "integer .*float32"),
    ],
)
def test_tensors_that_are_no_weights(
    tmp_path: Path, name: str, value: torch.Tensor, rule: str
) -> None:
    network = small(5)
    before = {key: one.clone() for key, one in network.state_dict().items()}
    file = saved(tmp_path, {**small(5).state_dict(), name: value})
    with pytest.raises(ModelError, match=rf"{name} must be.*{rule}"):
        load_weights(network, file, 5)
    assert all(torch.equal(network.state_dict()[key], one) for key, one in before.items())


def test_keys_that_are_no_names(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a state dict"):
        load_weights(small(5), saved(tmp_path, {1: torch.zeros(2)}), 5)


def test_a_file_that_expands_far_beyond_the_network(tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(hostile_files()[-1])
    assert file.stat().st_size < 1 << 20
    with pytest.raises(ModelError, match=r"may expand to 64 MiB for a network of .* got 100 MiB"):
        load_weights(small(5), file, 5)
