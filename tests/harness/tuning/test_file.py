from __future__ import annotations

from pathlib import Path

import pytest

from fedcore import Scenario
from fedcore.harness.tuning.file import TuningError, read_tuning

NOVA = '[cnn.fednova]\noptimizer = "sgd"\nlr = 0.2\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tuning.toml"


def test_the_pair_of_model_and_strategy_decides(path: Path) -> None:
    path.write_text(NOVA + '[mlp.fedavg]\noptimizer = "momentum"\nlr = 0.02\n')
    local = read_tuning(path)
    nova = Scenario(strategy="fednova", local_epochs=(1, 3))
    assert local(nova) == nova.but(optimizer="sgd", lr=0.2)
    assert local(Scenario(model="mlp")) == Scenario(model="mlp", optimizer="momentum", lr=0.02)
    for untouched in (Scenario(), Scenario(model="mlp", strategy="fednova")):
        assert local(untouched) == untouched


def test_a_parameter_of_the_replaced_solver_goes_with_it(path: Path) -> None:
    path.write_text(NOVA)
    before = Scenario(strategy="fednova", optimizer="momentum", momentum=0.5)
    assert read_tuning(path)(before).momentum is None


def test_a_data_set_with_tables_of_its_own_takes_those(path: Path) -> None:
    path.write_text(NOVA + '["npz:a.b".cnn.fednova]\noptimizer = "sgd"\nlr = 0.4\n')
    local = read_tuning(path)
    for dataset, lr in (("mnist5k", 0.2), ("npz:a.b", 0.4), ("npz:a", 0.2)):
        assert local(Scenario(dataset=dataset, strategy="fednova")).lr == lr
    untouched = Scenario(dataset="npz:a.b")
    assert local(untouched) == untouched


def test_an_empty_file_tunes_nothing(path: Path) -> None:
    path.write_text("")
    assert read_tuning(path)(Scenario()) == Scenario()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[cnn.fednova]\nlr = 0.2", r"\[cnn.fednova\]: must hold optimizer, lr"),
        (NOVA + "rounds = 3", r"\[cnn.fednova\]: must hold optimizer, lr .*nothing else"),
        (NOVA + "lrr = 3", r"\[cnn.fednova\]: must hold optimizer, lr .*nothing else"),
        ("[cnn]\nlr = 0.2", r"\[cnn.lr\]: must be a table, got 0.2"),
        ("[bloodmnist.cnn.fednova]\nlr = 0.2", r"\[bloodmnist.cnn.fednova\]: must hold optimizer"),
        ("[bloodmnist.cnn]\nfedavg = 3\n" + NOVA.replace("cnn", "bloodmnist.cnn"), "cnn.fedavg"),
        ("cnn = 0.2", "'cnn' must hold a table per strategy"),
        ("[cnn", "end of document"),
    ],
)
def test_a_bad_file_is_refused_with_path_and_rule(path: Path, text: str, rule: str) -> None:
    path.write_text(text)
    with pytest.raises(TuningError, match=rule) as caught:
        read_tuning(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_missing_or_no_text(path: Path) -> None:
    with pytest.raises(TuningError, match=r"tuning\.toml"):
        read_tuning(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TuningError, match=r"tuning\.toml"):
        read_tuning(path)
