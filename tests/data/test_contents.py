"""A process that reads ahead changes nothing but the time, whatever becomes of it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedcore.data import contents as module
from fedcore.data import npz
from fedcore.data.contents import contents, reading
from fedcore.data.npz import KEYS
from fedcore.data.warned import collecting
from fedcore.errors import DataError

needs_handing_over = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="memory cannot be handed over"
)


@pytest.fixture(autouse=True)
def _cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Arrays of several types and of sizes that align nothing after them."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {key: generator.integers(0, 9, 5, np.uint8) for key in KEYS}
    arrays["train_images"] = generator.integers(0, 256, (7, 5, 3), np.uint8)
    arrays["test_images"] = generator.random((3, 5, 3)).T  # in the other order
    arrays["test_labels"] = np.arange(3)
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


def end_reader(path: Path) -> None:
    """Wait until it has read, or failed to."""
    module._begun[path]._process.join(30)


def descriptors() -> int:
    """Open memory of this process, where the system tells; a fork that fails loses pipes."""
    links = [os.path.realpath(file) for file in Path("/proc/self/fd").glob("*")]
    return sum("memfd" in link for link in links)


def failing(path: Path) -> Any:
    raise AssertionError(f"{path} is read a second time")


@needs_handing_over
def test_what_is_read_ahead_is_what_is_read_at_the_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = contents(path)
    assert plain.md5 == hashlib.md5(path.read_bytes()).hexdigest()
    with reading(path):
        monkeypatch.setattr(module, "_read", failing)
        ahead = contents(path)
    assert ahead.md5 == plain.md5
    assert list(ahead.arrays) == list(plain.arrays)
    for key, array in plain.arrays.items():
        found = ahead.arrays[key]
        np.testing.assert_array_equal(found, array)
        assert (found.dtype, found.strides) == (array.dtype, array.strides)
        assert found.flags.writeable
        assert found.flags.aligned
    ahead.arrays["train_images"][:] = 0  # the memory is still there, and of this process alone


def test_it_counts_once_and_for_its_path_only(path: Path) -> None:
    other = path.with_name("b.npz")
    other.write_bytes(path.read_bytes() + b"tail")
    with reading(path):
        if path in module._begun:
            end_reader(path)
        assert contents(other).md5 != contents(path).md5
        os.replace(other, path)
        assert contents(path).md5 == hashlib.md5(path.read_bytes()).hexdigest()


def message_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        contents(path)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_file_is_refused_in_the_same_words(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    wanted = message_of(path)
    assert str(path) in wanted
    with reading(path):
        assert message_of(path) == wanted


@needs_handing_over
def test_a_reader_that_is_killed_is_not_missed(path: Path) -> None:
    plain = contents(path)
    with reading(path):
        module._begun[path]._process.kill()
        end_reader(path)
        found = contents(path)
    assert found.md5 == plain.md5
    assert all((found.arrays[key] == plain.arrays[key]).all() for key in KEYS)


@needs_handing_over
@pytest.mark.parametrize("fails", ["os.memfd_create", "os.fork"])
def test_without_memory_or_process_it_reads_at_the_time(
    path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def none_left(*_: object) -> int:
        raise OSError("there is none left")

    before = descriptors()
    monkeypatch.setattr(fails, none_left)
    with reading(path):
        assert contents(path).md5 == hashlib.md5(path.read_bytes()).hexdigest()
    assert descriptors() == before


@needs_handing_over
def test_arrays_without_samples_are_handed_over(path: Path) -> None:
    np.savez(path, **dict.fromkeys(KEYS, np.empty((0, 3))))  # type: ignore[arg-type]
    with reading(path):
        assert contents(path).arrays["test_images"].shape == (0, 3)


def test_nothing_is_left_behind(path: Path) -> None:
    before = descriptors()
    with pytest.raises(KeyboardInterrupt), reading(path):
        raise KeyboardInterrupt  # nobody has asked for it
    assert not module._begun
    assert not multiprocessing.active_children()
    assert descriptors() == before


def test_a_single_core_reads_at_the_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 1)
    with reading(path):
        assert not module._begun
        assert contents(path).md5


@needs_handing_over
def test_a_warning_of_the_reading_process_is_not_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warns(*given: Any) -> Any:
        warnings.warn("odd header", UserWarning, stacklevel=2)
        return arrays(*given)

    arrays = npz._arrays
    monkeypatch.setattr(npz, "_arrays", warns)
    with collecting() as warned, reading(path):
        contents(path)
    assert warned.notes() == ("warned once while data were read: UserWarning: odd header",)
