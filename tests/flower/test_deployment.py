"""SuperLink and SuperNodes as processes over TLS; the demonstration checks itself."""

from __future__ import annotations

import pytest

pytest.importorskip("flwr", reason="needs the extra 'flower'")

from fedcore.flower import demo


@pytest.mark.slow
def test_demo(tmp_path, capsys) -> None:
    assert demo.main(["--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" yes  ") == 4, printed
