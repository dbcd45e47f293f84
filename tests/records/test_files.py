from __future__ import annotations

from pathlib import Path

import pytest

from fedcore.records.files import PlaceError, require_writable


def test_a_place_is_made_and_left_empty(tmp_path: Path) -> None:
    place = tmp_path / "not" / "yet"
    require_writable(place)
    assert place.is_dir()
    assert not list(place.iterdir())


def test_a_file_in_the_way_is_named_with_the_reason_and_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PlaceError, match=r"file cannot be written to .*: name another directory"):
        require_writable(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
