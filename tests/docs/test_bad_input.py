"""What users of a package get wrong ends with one message and status 4, before any run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.acme import Acme, Session, installed_acme

pytestmark = pytest.mark.slow

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{distribution}"
version = "1.0"

[project.entry-points.fedcore]
{point} = "{module}"

[tool.setuptools]
py-modules = ["{module}"]
"""
ATTACK = """
from fedcore.attacks.attack import ATTACKS, LabelAttack

@ATTACKS.register("{name}", "the next label")
class Next(LabelAttack):
    def relabel(self, labels, num_classes, generator):
        return (labels + 1) % num_classes
"""
SUITE = """
import pytest
from fedcore import Scenario
from fedcore.harness.suite.cells import Grid

def cells(options):
    base = Scenario(dataset="synthetic:400", model="mlp", num_clients=4, rounds=1)
    defences, iid = [{"strategy": "fedavg"}], [{"partition": "iid"}]
    yield from Grid(base, defences, iid, [{"attack": "ATTACK"}], [0.5], [1.0], seeds=1).cells()

@pytest.mark.cells(function=cells)
def test_mine(outcome):
    outcome.check()
"""


@pytest.fixture(scope="module")
def acme(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Acme:
    return installed_acme(tmp_path_factory.mktemp("acme"), wheel)


@pytest.fixture
def project(acme: Acme, tmp_path: Path) -> Acme:
    """A folder of its own in the environment that has the package."""
    folder = tmp_path / "project"
    folder.mkdir()
    return replace(acme, folder=folder)


def suite(project: Acme, attack: str) -> None:
    (project.folder / "test_mine.py").write_text(SUITE.replace("ATTACK", attack))


def refused(project: Acme, session: Session, *messages: str) -> None:
    """AssertionError unless pytest ended with status 4, each message once, and before any run."""
    assert session.status == pytest.ExitCode.USAGE_ERROR, session.text
    assert "Traceback" not in session.text
    assert "from the store" not in session.text
    assert not session.cells
    assert not (project.folder / ".fedcore").exists()
    for message in messages:
        assert session.text.count(message) == 1, f"{message!r} in\n{session.text}"


def install(project: Acme, distribution: str, point: str, module: str, source: str) -> None:
    """Install a further package, of one module, beside acme."""
    folder = project.folder.parent / distribution
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        PROJECT.format(distribution=distribution, point=point, module=module)
    )
    (folder / f"{module}.py").write_text(source)
    project.newcomer.install(folder)


WRONG = {
    "unknown parameter": (
        "acme/shift(bye=3)",
        "attack 'acme/shift' has no parameter 'bye'. Did you mean 'by'? Known: poison_ratio, by.",
    ),
    "wrong type": ("acme/shift(by=much)", "by must be an integer, got 'much'"),
    "out of range": ("acme/shift(by=0)", "by must be >= 1, got 0"),
    "unknown name": ("acme/shft", "unknown attack 'acme/shft'. Did you mean 'acme/shift'?"),
    "no such module": (
        "acm.attacks:ShiftLabels",
        "attack 'acm.attacks:ShiftLabels': the module 'acm.attacks' cannot be imported "
        "(ModuleNotFoundError: No module named 'acm')",
    ),
    "no such class": (
        "acme.attacks:ShiftLabel",
        "the module 'acme.attacks' has no 'ShiftLabel'; did you mean 'ShiftLabels'?",
    ),
    "no attack": (
        "acme.models:TinyCnn",
        "attack 'acme.models:TinyCnn' is no attack: name a class that is derived from the base",
    ),
}


@pytest.mark.parametrize(("attack", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_component_of_a_suite(project: Acme, attack: str, message: str) -> None:
    suite(project, attack)
    refused(project, project.pytest("--fedcore-jobs=2"), message)
    done = project.fedcore("run", f"--attack={attack}", "--malicious-fraction=0.3")
    assert done.returncode == 2, done.stdout
    assert done.stdout.count(message) == 1, done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("arguments", [("--fedcore-jobs=2",), ("-n2",)], ids=["jobs", "xdist"])
def test_a_wrong_component_at_the_top_of_a_module(
    project: Acme, arguments: tuple[str, ...]
) -> None:
    suite(project, "labelflip")
    text = (project.folder / "test_mine.py").read_text()
    top = 'Scenario(attack="acme/shift(bye=3)", malicious_fraction=0.3)\n\ndef cells'
    (project.folder / "test_mine.py").write_text(text.replace("def cells", top))
    refused(project, project.pytest(*arguments), "attack 'acme/shift' has no parameter 'bye'")


def test_a_class_in_a_conftest_with_several_workers(project: Acme) -> None:
    suite(project, "next")
    (project.folder / "conftest.py").write_text(ATTACK.format(name="next"))
    message = (
        "attack 'next' is defined in conftest.py, which worker processes cannot import: move it to "
        "a module of its own and import that, or give --fedcore-jobs 1"
    )
    refused(project, project.pytest("--fedcore-jobs=2"), message)
    session = project.pytest("--fedcore-jobs=1")
    assert (session.status, session.runs) == (0, (0, 2)), session.text


def test_a_broken_entry_point_stops_no_other(project: Acme) -> None:
    install(project, "broken-fl", "broken", "broken_parts", "import no_such_module\n")
    message = (
        "entry point 'broken' (broken_parts) of broken-fl cannot be loaded (ModuleNotFoundError: "
        "No module named 'no_such_module')"
    )
    try:
        suite(project, "broken/next")
        session = project.pytest("--fedcore-jobs=2")
        refused(project, session, message, "unknown attack 'broken/next'")
        listed = project.fedcore("list")
        assert listed.returncode == 0
        assert listed.stdout.count(message) == 1
        assert "acme/shift" in listed.stdout
        suite(project, "acme/shift")
        session = project.pytest("--fedcore-jobs=2")
        assert (session.status, session.runs) == (0, (0, 2)), session.text
    finally:
        project.newcomer.uninstall("broken-fl")


def test_two_packages_with_one_entry_point(project: Acme) -> None:
    install(project, "other-fl", "acme", "other_parts", ATTACK.format(name="next"))
    message = (
        "entry point 'acme' is of several packages, acme-fl and other-fl: uninstall all but one, "
        "or have one choose another name"
    )
    try:
        suite(project, "acme/next")
        refused(project, project.pytest("--fedcore-jobs=2"), message)
        listed = project.fedcore("list")
        assert listed.stdout.count(message) == 1
        assert "acme/shift" not in listed.stdout
    finally:
        project.newcomer.uninstall("other-fl")


def test_two_packages_with_one_name(project: Acme) -> None:
    install(project, "other-fl", "other", "other_parts", ATTACK.format(name="acme/shift"))
    message = (
        "attack 'acme/shift' is registered by two packages, acme-fl (module acme.attacks) and "
        "other-fl (module other_parts): uninstall one, or have one choose another name"
    )
    try:
        suite(project, "acme/shift")
        refused(project, project.pytest("--fedcore-jobs=2"), message)
    finally:
        project.newcomer.uninstall("other-fl")
