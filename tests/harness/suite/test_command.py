"""The command line that repeats a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedcore.harness.suite.command import base_command, named_places, repeat_command
from fedcore.harness.suite.options import Options

pytest_plugins = ["pytester"]


def test_the_command_that_repeats_a_session_holds_what_its_numbers_depend_on() -> None:
    options = Options(dataset="bloodmnist", seeds=4, engine="stacked", precision="bfloat16")
    assert base_command(options) == (
        "pytest benchmark --dataset=bloodmnist --seeds=4 --engine=stacked --precision=bfloat16"
    )
    assert base_command(Options()) == "pytest benchmark"


def test_the_command_that_repeats_a_cell() -> None:
    assert repeat_command("fednova-dirichlet0.1-clean", "pytest benchmark --profile=quick") == (
        'pytest benchmark --profile=quick -k "[fednova-dirichlet0.1-clean]"'
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], []),
        (["suite", "-k", "x"], ["suite"]),
        (
            ["suite", "suite/test_a.py::test_one", "suite/test_a.py::test_two"],
            ["suite", "suite/test_a.py"],
        ),
        (["suite", "suite"], ["suite"]),
    ],
)
def test_it_names_the_places_that_were_named(
    arguments: list[str], named: list[str], pytester: pytest.Pytester
) -> None:
    pytester.mkdir("suite").joinpath("test_a.py").touch()
    assert named_places(pytester.parseconfig(*arguments)) == named


def test_places_given_in_full_are_told_from_where_one_is(
    pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A committed result holds no folders of the machine that it was made on."""
    inside = pytester.mkdir("suite")
    outside: Path = tmp_path_factory.mktemp("elsewhere")
    config = pytester.parseconfig(str(inside), str(outside))
    assert named_places(config) == ["suite", str(outside)]


def test_what_a_user_sets_and_what_fails_are_repeated() -> None:
    settings = (("num_clients", 10), ("local_epochs", (1, 5)), ("lr", 0.5))
    options = Options(settings=settings, fail_on=("unsure", "no limit"))
    assert base_command(options) == (
        "pytest benchmark --num-clients=10 --local-epochs=1-5 --lr=0.5 --fail-on=unsure "
        "--fail-on=no-limit"
    )
