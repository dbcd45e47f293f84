"""``fedcore run`` that is ended, goes on from its checkpoint, or loses a process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedcore import run
from fedcore.cli import main
from fedcore.console import RoundLines
from fedcore.engine.parallel import HelperLost
from fedcore.interrupts import Terminated
from fedcore.records.record import Record
from fedcore.simulation.trial import RoundReport
from tests.cli.test_run import TINY


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: Any, **__: Any) -> Record:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedcore.simulation.runner.run", interrupted)
    assert main(TINY) == 130
    assert capsys.readouterr().err == (
        "0 of 2 rounds were made and are lost: --checkpoint DIR keeps them\nfedcore: interrupted\n"
    )


def test_a_run_that_was_ended_goes_on_from_its_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = [*TINY, "--rounds", "4", "--processes", "1"]
    assert main([*command, "--json", str(tmp_path / "whole")]) == 0
    command += ["--checkpoint", str(tmp_path / "kept"), "--checkpoint-every", "1"]
    shown = RoundLines.__call__

    def until(self: RoundLines, report: RoundReport) -> None:
        shown(self, report)
        if report.round == 3:
            raise Terminated

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(RoundLines, "__call__", until)
        assert main(command) == 143
    assert capsys.readouterr().err == (
        f"3 of 4 rounds were made, 2 of them are saved in {tmp_path / 'kept'}: the same command "
        "goes on from there\nfedcore: terminated\n"
    )
    assert main([*command, "--json", str(tmp_path / "again")]) == 0
    out = capsys.readouterr().out
    assert f"2 rounds are made, says {tmp_path / 'kept'}\n" in out
    assert [line.split()[0] for line in out.splitlines() if "/4 " in line] == ["3/4", "4/4"]
    whole, again = (json.loads((tmp_path / name).read_text()) for name in ("whole", "again"))
    assert again["model_digest"] == whole["model_digest"]
    assert again["audit"] == whole["audit"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_run_that_loses_a_process_is_made_once_more(
    times: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[object] = []

    def unlucky(*arguments: Any, **settings: Any) -> Record:
        tried.append(arguments)
        if len(tried) <= times:
            raise HelperLost("a process hangs")
        return run(*arguments, **settings)

    monkeypatch.setattr("fedcore.simulation.runner.run", unlucky)
    assert main(TINY) == times - 1
    assert len(tried) == 2
    err = "fedcore: a process hangs; the run is made once more\n"
    assert capsys.readouterr().err == err + "fedcore: a process hangs\n" * (times - 1)
