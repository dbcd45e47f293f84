"""Files that change while a process runs, before and after it has imported them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fedcore.origin import sources
from fedcore.origin.sources import changed, watch


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, empty in (
        ("_first", {}),
        ("_digested", set()),
        ("_held", set()),
        ("_loaded", set()),
        ("_scanned", 0),
    ):
        monkeypatch.setattr(sources, name, empty)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module's file, not imported yet."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "watched_module", raising=False)
    file = tmp_path / "watched_module.py"
    file.write_text("one = 1")
    return file


def rewrite(file: Path, text: str = "one = 2") -> None:
    """Other content in a new file of the same name, as editors and git write it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)


def test_a_file_that_nobody_touched(file: Path) -> None:
    watch([str(file)])
    assert changed([str(file)]) == []
    assert changed([str(file)], read=True) == []


def test_a_file_never_seen_before_is_not_known(file: Path) -> None:
    assert changed([str(file)]) == [str(file)]


@pytest.mark.parametrize("text", ["one = 2", "one = 1"])
def test_a_change_before_the_import_stays_a_change(file: Path, text: str) -> None:
    """Also there and back again: what was imported in between is not known."""
    watch([str(file)])
    changed([str(file)], read=True)
    rewrite(file, text)
    assert changed([str(file)]) == [str(file)]
    __import__("watched_module")
    assert changed([str(file)]) == [str(file)]


def test_a_change_after_digest_and_import_matters_no_more(file: Path) -> None:
    watch([str(file)])
    changed([str(file)], read=True)
    __import__("watched_module")
    assert changed([str(file)]) == []
    rewrite(file)
    assert changed([str(file)]) == []
    file.unlink()
    assert changed([str(file)]) == []


def test_what_a_module_has_read_is_loaded_with_it(file: Path, tmp_path: Path) -> None:
    """C files, which Python does not import."""
    read, other = tmp_path / "kernel.c", tmp_path / "other.c"
    for path in (read, other):
        path.write_text("int one;")
    file.write_text(f"__reads__ = ({str(read)!r},)")
    paths = [str(read), str(other)]
    watch(paths)
    changed(paths, read=True)
    __import__("watched_module")
    assert changed(paths) == []
    for path in (read, other):
        rewrite(path)
    assert changed(paths) == [str(other)]


def test_files_of_several_digests(file: Path, tmp_path: Path) -> None:
    """Of what is imported both know, whichever is asked first."""
    second = tmp_path / "watched_second.py"
    second.write_text("two = 2")
    sys.modules.pop("watched_second", None)
    for path in (file, second):
        watch([str(path)])
        changed([str(path)], read=True)
        __import__(path.stem)
    for path in (file, second):
        assert changed([str(path)]) == []
    rewrite(second)
    assert changed([str(second)]) == []


def test_a_change_after_the_import_but_before_any_digest(file: Path) -> None:
    watch([str(file)])
    __import__("watched_module")
    assert changed([str(file)]) == []
    rewrite(file)
    assert changed([str(file)], read=True) == [str(file)]


def test_the_first_sight_counts(file: Path) -> None:
    watch([str(file)])
    rewrite(file)
    watch([str(file)])
    assert changed([str(file)]) == [str(file)]


def test_source_files_of_a_tree(tmp_path: Path) -> None:
    wanted = ["a.py", "kernel.c", "kernel.h", "sub/b.py"]
    others = [".git/c.py", "__pycache__/d.py", "env/pyvenv.cfg", "env/e.py", "notes.txt"]
    for name in (*wanted, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in sources.tree(tmp_path)]
    assert sorted(found) == wanted
