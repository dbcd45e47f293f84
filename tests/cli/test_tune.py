from __future__ import annotations

import tomllib

import pytest

from fedcore.cli import main
from fedcore.harness.tuning import search as tuner


@pytest.mark.parametrize("flags", ["", "--seeds 1 --trial 2 --iid-only --one-solver"])
def test_tune_prints_a_table_that_the_suite_can_read(flags, tmp_path, capsys, monkeypatch) -> None:
    candidates = (("sgd", 1e-6), ("sgd", 0.1))
    monkeypatch.setitem(tuner.tune.__kwdefaults__, "candidates", candidates)
    monkeypatch.setitem(tuner.tune.__kwdefaults__, "extensions", 0)
    monkeypatch.setattr(tuner, "SEEDS", range(1000, 1001))
    monkeypatch.setattr(tuner, "TRIAL", range(1000, 1003))
    words = "tune fedavg fednova --dataset synthetic:1000 --model mlp --num-clients 4 --rounds 9"
    status = main([*words.split(), *flags.split(), "--jobs", "1", "--results", str(tmp_path)])
    assert status == 0
    printed = capsys.readouterr().out
    work = {"optimizer": "sgd", "lr": 0.1, "seeds": 1 if flags else 4}
    best = dict.fromkeys(("fedavg", "fednova"), work)
    assert tomllib.loads(printed) == {"synthetic:1000": {"mlp": best}}
    assert (" / " in printed) == ("--iid-only" not in flags)
    # two strategies; of the two candidates the better has a trial, which begins with the same seeds
    seeds, trial, partitions = (1, 2, 1) if flags else (4, 3, 2)
    each = 2 * seeds + max(0, trial - seeds)
    assert len(list((tmp_path / "records").rglob("*.json"))) == 2 * partitions * each


def test_too_few_seeds_are_a_usage_error(capsys) -> None:
    assert main(["tune", "fedavg", "--seeds", "0", "--trial", "-1"]) == 2
    told = capsys.readouterr().err
    assert "--seeds must be at least 1, got 0" in told
    assert "--trial must be at least 0, got -1" in told


@pytest.mark.parametrize("words", [["fednovaa"], ["fedavg", "--alpha", "-1"]])
def test_bad_words_are_a_usage_error(words, tmp_path, capsys) -> None:
    assert main(["tune", *words, "--results", str(tmp_path)]) == 2
    assert "Did you mean 'fednova'" in (err := capsys.readouterr().err) or "alpha must be" in err
