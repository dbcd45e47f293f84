from __future__ import annotations

import tomllib

import pytest

from fedcore.cli import main
from fedcore.harness import tuner


def test_tune_prints_a_table_that_the_suite_can_read(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(tuner.tune, "__kwdefaults__", {
        **tuner.tune.__kwdefaults__,
        "candidates": (("sgd", 1e-6), ("sgd", 0.1)),
        "partitions": ({"partition": "iid"},),
        "seeds": (1000,),
    })  # fmt: skip
    words = "tune fedavg fednova --dataset synthetic:1000 --model mlp --num-clients 4 --rounds 9"
    status = main([*words.split(), "--jobs", "1", "--results", str(tmp_path)])
    assert status == 0
    chosen = tomllib.loads(capsys.readouterr().out)
    best = {s: {"optimizer": "sgd", "lr": 0.1} for s in ("fedavg", "fednova")}
    assert chosen == {"synthetic:1000": {"mlp": best}}


@pytest.mark.parametrize("words", [["fednovaa"], ["fedavg", "--alpha", "-1"]])
def test_bad_words_are_a_usage_error(words, tmp_path, capsys) -> None:
    assert main(["tune", *words, "--results", str(tmp_path)]) == 2
    assert "Did you mean 'fednova'" in (err := capsys.readouterr().err) or "alpha must be" in err
