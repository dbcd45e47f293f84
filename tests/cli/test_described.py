"""What `fedcore list` says of components, and the page that is made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fedcore.attacks.attack import ATTACKS, Seen, UpdateAttack
from fedcore.cli import main
from fedcore.cli.components_page import COMMAND
from fedcore.cli.described import facts, knowledge, preconditions, refusals, source
from fedcore.components.parameters import param
from fedcore.components.registry import REGISTRIES, Entry
from fedcore.strategies.strategy import Strategy

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "components.md"


def entry(kind: str, name: str) -> Entry[Any]:
    return REGISTRIES[kind].entry(name)


def ours(entry: Entry[Any]) -> bool:
    """Whether fedcore registers it; other tests use base classes by import path."""
    return entry.package == "fedcore" and ":" not in entry.name


def made(cls: type, summary: str = "what it does") -> Entry[Any]:
    """An entry of a class that nobody has registered."""
    return Entry("sample", summary, cls, {}, (), cls)


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        # behind Source:, up to the end of the sentence with the year
        (
            "strategy",
            "krum",
            'Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries", '
            "NeurIPS 2017, section 4",
        ),
        (
            "strategy",
            "centeredclipping",
            'Karimireddy, He, Jaggi, "Learning from History for Byzantine Robust Optimization", '
            "ICML 2021, CenteredClip",
        ),
        # of the module, whose titles have colons and question marks
        (
            "attack",
            "backdoor",
            'Gu, Dolan-Gavitt and Garg, "BadNets: Identifying Vulnerabilities in the Machine '
            'Learning Model Supply Chain", 2017',
        ),
        # in brackets
        ("dataset", "mnist5k", "Raschka 2018, https://doi.org/10.21105/joss.00638"),
        ("model", "resnet18", "He et al., CVPR 2016"),
        # of the summary, and of nothing
        ("optimizer", "adam", "Kingma and Ba 2015"),
        ("dataset", "npz", None),
    ],
)
def test_sources(kind: str, name: str, expected: str | None) -> None:
    assert source(entry(kind, name)) == expected


class Inferred(UpdateAttack):
    """Sends nothing.

    Needs m >= 2. Source: Nobody et al., "A Title. With a Stop", 1999, eq. 3. And more.
    """

    knows: str = param("what is seen", default="benign", choices=("own", "benign"))

    def craft(self, seen: Seen) -> torch.Tensor:
        return 0 * seen.own


class Needy(Strategy):
    """Takes five.

    Steps. (Or not.) Needs K > 4 and f >= 0.5; else it is a mean.
    """

    def step(self, updates: Any, cohort: Any, memory: Any) -> Any:
        return updates.mean(dim=0)

    def problems(self, scenario: Any) -> list[str]:
        """Fewer than five updates.

        Or more.
        """
        return [] if scenario.rows > 4 else ["too few"]


class Refused(Needy):
    def problems(self, scenario: Any) -> list[str]:
        return [f"sample takes no data set of this size, got {scenario.rows}: take another"]


def test_a_component_of_anybody_is_described_by_being_written() -> None:
    one = made(Inferred)
    assert source(one) == 'Nobody et al., "A Title. With a Stop", 1999, eq. 3'
    assert knowledge(one) == "own or omniscient updates (knows, default benign)"
    assert facts(one)[2] == ("needs", "m >= 2")
    two = made(Needy)
    assert preconditions(two) == ["K > 4 and f >= 0.5", "a cohort of 5 or more, with its defaults"]
    assert refusals(two) == ["fewer than five updates"]
    three = made(Refused)
    assert preconditions(three) == ["K > 4 and f >= 0.5"]
    assert refusals(three) == ["sample takes no data set of this size"]
    assert source(made(Needy, "a rule (Somebody 2001)")) == "Somebody 2001"


def test_knowledge_of_each_kind_of_attack() -> None:
    known = {name: knowledge(entry("attack", name)) for name in ATTACKS}
    assert known["labelflip"] == known["backdoor"] == "own data"
    assert known["signflip"] == "own updates"
    assert known["scaled"] == known["until"] == "as its parts"
    assert knowledge(entry("strategy", "krum")) is None
    assert all(known[name] for name in ATTACKS if ours(entry("attack", name)))


def test_smallest_cohorts_are_those_that_scenarios_take() -> None:
    smallest = {"bulyan": 7, "krum": 3, "median": 3, "trimmedmean": 5}
    for name, size in smallest.items():
        assert f"a cohort of {size} or more, with its defaults" in preconditions(
            entry("strategy", name)
        )
    assert preconditions(entry("strategy", "fedavg")) == []
    assert refusals(entry("strategy", "fedbn")) == ["without BatchNorm layers is FedAvg"]


def test_every_rule_and_attack_of_ours_has_a_source() -> None:
    for kind in ("strategy", "preaggregation", "attack"):
        for name in REGISTRIES[kind]:
            if ours(entry(kind, name)) and name != "flower":  # the code of others
                assert source(entry(kind, name)), f"{kind} {name} names no source"


def test_the_page_is_that_of_the_components() -> None:
    # in a process of its own: other tests register components, which messages name
    command = [sys.executable, "-m", "fedcore", "list", "--format", "md"]
    own = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert PAGE.read_text(encoding="utf-8") == own, f"it is stale: renew it with `{COMMAND}`"


def test_the_command_prints_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "partition", "--format", "md"]) == 0
    out = capsys.readouterr().out
    assert "### quantity\n\nLog-normal sizes, labels as in iid (Li et al. 2020).\n" in out
    assert "| `sigma`     | number >= 0  | 1.0       |" in out
    assert "## Strategies" not in out
    assert main(["list", "presets", "--format", "md"]) == 2
    assert "kind of components, which --format md lists, 'presets'" in capsys.readouterr().err
