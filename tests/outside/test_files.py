from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fedcore.errors import DataError
from fedcore.outside import limits
from fedcore.outside.files import NoFileError, TooLargeError, open_file, read_text
from fedcore.outside.paths import expanded, printable


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        for place, kind in (
            (tmp_path / "pipe", "a named pipe"),
            (tmp_path, "a folder"),
            (Path("/dev/zero"), "a device"),
        ):
            with pytest.raises(NoFileError, match=kind):
                open_file(place)
        with pytest.raises(OSError, match="socket"):
            open_file(tmp_path / "socket")


def test_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("é" * 5)
    assert read_text(tmp_path / "a", 10) == "é" * 5
    with pytest.raises(TooLargeError, match="may have 9 bytes here, got 10 bytes"):
        read_text(tmp_path / "a", 9)
    with pytest.raises(TooLargeError):  # it has no size, but a content
        read_text(Path("/proc/self/maps"), 10)


@pytest.mark.parametrize("path", ["~nobody-at-all/x", "~nobody-at-all"])
def test_a_home_that_is_not_there(path: str) -> None:
    with pytest.raises(DataError, match="home of a user"):
        expanded(path)


def test_an_empty_home_is_not_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "")
    assert expanded("~/x").parent != Path("/")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/x") == tmp_path / "x"
    assert expanded("a/~/x") == Path("a/~/x")


def test_printable() -> None:
    assert printable(os.fsdecode(b"a\xff\n\x1b")) == r"a\udcff\n\x1b"


def test_the_page_states_the_limits() -> None:
    """docs/reference/limits.md: each number as the code has it."""
    text = (Path(__file__).parents[2] / "docs" / "reference" / "limits.md").read_text()
    fields = limits.FIELDS
    for number in (
        f"{limits.IMAGE_PIXELS >> 20} Mi pixels",
        f"{limits.PLAIN_PIXELS >> 20} Mi where",
        f"beyond {limits.EXPANDED_FREELY >> 20} MiB no more than {limits.EXPANSION} times",
        f"{limits.WEIGHTS_TIMES} times the network's own bytes and "
        f"{limits.WEIGHTS_BESIDE >> 20} MiB",
        f"| TOML | {limits.TOML_BYTES >> 20} MiB, {limits.DEPTH} levels",
        f"| JSON | {limits.JSON_BYTES >> 20} MiB, {limits.DEPTH} levels",
        f"{limits.IMPORT_SECONDS:g} s in all, {limits.IDLE_SECONDS:g} s in which",
        f"| {fields['rounds']:,} |",
        f"| {fields['image_size']:,} |",
        f"| {fields['local_epochs']:,}; {fields['batch_size']:,} |",
        f"| {limits.SEEDS:,}; {limits.JOBS:,}; {limits.HOURS:,.0f} |",
        f"{limits.SILENCE_SECONDS:g} s of silence",
        f"at {limits.SLOWEST_BYTES:,} bytes a second",
        f"{limits.VERSION_SECONDS:g} s for `--version`, {limits.COMPILE_SECONDS:g} s for a kernel",
    ):
        assert number in text, number
