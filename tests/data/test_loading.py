from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedcore.data.loading import data_directory, load
from fedcore.errors import ScenarioError


def test_argument_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDCORE_DATA", str(tmp_path / "variable"))
    assert data_directory(tmp_path) == tmp_path
    assert data_directory(str(tmp_path)) == tmp_path
    assert data_directory() == tmp_path / "variable"


def test_relative_and_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_directory("here") == tmp_path / "here"
    assert data_directory("~/there") == Path.home() / "there"


@pytest.mark.skipif(sys.platform == "win32", reason="XDG is not for Windows")
def test_user_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDCORE_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_directory() == tmp_path / "fedcore"
    for ignored in ("", "relative/cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert data_directory() == Path.home() / ".cache" / "fedcore"


def test_user_cache_on_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FEDCORE_DATA", raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert data_directory() == tmp_path / "fedcore"
    monkeypatch.delenv("LOCALAPPDATA")
    assert data_directory() == Path.home() / "AppData" / "Local" / "fedcore"


def test_loaded_once_a_process() -> None:
    assert load("synthetic:20") is load("synthetic:20")


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(ScenarioError, match="Did you mean 'bloodmnist'"):
        load("bloodmist")
