"""Packages of others: entry points, names, what is broken, and what two packages both have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedcore.components import packages

ROOT = Path(__file__).parents[2]
ATTACK = """
from fedcore.attacks.attack import UpdateAttack
from fedcore.components import param
from fedcore.components.kinds import ATTACKS

@ATTACKS.register("shift", "adds a constant to its own update")
class Shift(UpdateAttack):
    by: float = param("what is added", default=1.0, low=0, open_low=True)
    tau: float = param("has the name of a strategy's parameter", default=0.5)

    def craft(self, seen):
        return seen.own + self.by
"""


def install(folder: Path, package: str, point: str, source: str = ATTACK) -> None:
    """A package beside what pip would write for it."""
    module = folder / package
    module.mkdir()
    (module / "__init__.py").write_text("")
    (module / "parts.py").write_text(source)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fedcore]\n{point} = {package}.parts\n")
    (info / "top_level.txt").write_text(f"{package}\n")


@pytest.fixture
def installed(tmp_path: Path):
    """Runs code with the packages of `install` in tmp_path; returns what it prints."""

    def run(code: str, *, status: int = 0) -> str:
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    return run


SHARES = "malicious_fraction=0.3"


def test_a_package_is_found_by_its_entry_point(tmp_path: Path, installed) -> None:
    install(tmp_path, "acme_fl", "acme")
    out = installed(
        "import pickle; from fedcore import Scenario\n"
        f"s = Scenario(attack='acme/shift', by=3, {SHARES})\n"
        f"assert s == Scenario(attack='acme/shift(by=3)', {SHARES})\n"
        "assert Scenario.from_dict(s.to_dict()) == pickle.loads(pickle.dumps(s)) == s\n"
        "print(s.id); print(s.to_dict()['by']); print(s.but(attack=None) == Scenario())\n"
        "from fedcore.components.kinds import ATTACKS\n"
        "print(ATTACKS.entry('acme/shift').package, ATTACKS.entry('signflip').package)\n"
    )
    assert out.splitlines() == [
        "fedavg-iid-acmeshift-mal30pct-by3",
        "3.0",
        "True",
        "acme_fl fedcore",
    ]


def test_the_name_is_the_same_when_the_module_is_imported_first(tmp_path: Path, installed) -> None:
    install(tmp_path, "acme_fl", "acme")
    out = installed(
        "import acme_fl.parts; from fedcore import Scenario\n"
        f"print(Scenario(attack=acme_fl.parts.Shift(by=2), {SHARES}).attack)\n"
    )
    assert out == "acme/shift\n"


def test_parameters_with_one_name_go_out_in_the_written_form(tmp_path: Path, installed) -> None:
    install(tmp_path, "acme_fl", "acme")
    out = installed(
        "from fedcore import Scenario\n"
        "from fedcore.errors import ScenarioError\n"
        f"s = Scenario(strategy='fedadam', attack='acme/shift(tau=2)', {SHARES})\n"
        "assert Scenario.from_dict(s.to_dict()) == s\n"
        "print(s.tau, s.parts.attack.tau, s.to_dict()['attack'])\n"
        "print(s.but(tau=0.1).parts.attack.tau)\n"
        "try:\n"
        f"    Scenario(strategy='fedadam', tau=0.1, attack='acme/shift', {SHARES})\n"
        "except ScenarioError as error:\n"
        "    print(*error.problems)\n"
    )
    assert out.splitlines() == [
        "0.001 2.0 acme/shift(by=1.0, tau=2.0)",
        "2.0",
        "tau is a parameter of strategy 'fedadam' and of attack 'acme/shift': write it inside the "
        'parentheses, as attack="acme/shift(tau=...)"',
    ]


def test_help_has_its_flags_and_says_whose_they_are(tmp_path: Path, installed) -> None:
    install(tmp_path, "acme_fl", "acme")
    text = " ".join(installed("from fedcore.cli import main; main(['run', '--help'])").split())
    assert "--by X what is added (> 0; from acme_fl)" in text
    assert "--alpha X Dirichlet concentration (> 0)" in text
    code = "from fedcore.cli import main; raise SystemExit(main(['run', '--attack', "
    told = installed(code + "'acme/shift', '--by', '0', '--malicious-fraction', '0.3']))", status=2)
    assert "by must be > 0, got 0.0" in told


def test_a_broken_entry_point_is_named_and_stops_no_other(tmp_path: Path, installed) -> None:
    install(tmp_path, "acme_fl", "acme")
    install(tmp_path, "bust", "bust", "import nothing_of_that_name")
    out = installed(
        "from fedcore import Scenario\n"
        f"print(Scenario(attack='acme/shift', {SHARES}).attack)\n"
        f"Scenario(attack='bust/shift', {SHARES})\n",
        status=1,
    )
    assert out.startswith("acme/shift\n")
    assert (
        "entry point 'bust' (bust.parts) of bust cannot be loaded (ModuleNotFoundError: No module "
        "named 'nothing_of_that_name')." in out
    )
    listed = installed("from fedcore.cli import main; main(['list', 'attacks'])")
    assert "acme/shift" in listed
    assert "[acme_fl]" in listed
    assert "entry point 'bust'" in listed


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise SystemExit(7)", "ended with SystemExit 7 while it was imported"),
        ("class Odd(BaseException): ...\nraise Odd('x')", "ended with Odd x while it was imported"),
        ("import pytest; pytest.skip('no', allow_module_level=True)", "ended with Skipped"),
    ],
)
def test_a_module_that_ends_the_process_is_named(tmp_path, installed, source, expected) -> None:
    install(tmp_path, "acme_fl", "acme")
    install(tmp_path, "bust", "bust", source)
    out = installed(
        "from fedcore import Scenario\n"
        "from fedcore.errors import FedcoreError\n"
        f"print(Scenario(attack='acme/shift', {SHARES}).attack)\n"
        "for name in ('bust/shift', 'bust.parts:Shift(by=2)'):\n"
        "    try:\n"
        f"        Scenario(attack=name, {SHARES})\n"
        "    except FedcoreError as error:\n"
        "        print(*error.problems)\n"
    ).splitlines()
    assert out[0] == "acme/shift"
    assert f"entry point 'bust' (bust.parts) of bust {expected}" in out[1]
    assert f"attack 'bust.parts:Shift': the module 'bust.parts' {expected}" in out[2]
    assert len(out) == 3


def test_an_interrupt_while_a_module_is_imported_goes_through(tmp_path: Path, installed) -> None:
    install(tmp_path, "bust", "bust", "raise KeyboardInterrupt")
    for name in ("nobody", "bust.parts:Shift"):
        code = f"from fedcore import Scenario; Scenario(attack={name!r})"
        with pytest.raises(AssertionError, match="KeyboardInterrupt"):
            installed(code)


def test_pytest_ends_with_a_message_where_a_module_ends_the_process(tmp_path, installed) -> None:
    (tmp_path / "exits.py").write_text("raise SystemExit(7)")
    suite = [str(ROOT / "benchmark" / "test_robustness.py"), "-c", str(ROOT / "pyproject.toml")]
    options = ["-p", "no:cacheprovider", *suite, "--fedcore-attack", "exits:X"]
    code = f"import pytest; raise SystemExit(pytest.main({options!r}))"
    out = installed(code, status=4)
    assert "ended with SystemExit 7 while it was imported" in out
    assert "INTERNALERROR" not in out


def test_two_packages_with_one_name(tmp_path: Path, installed) -> None:
    install(tmp_path, "acme_fl", "acme")
    install(tmp_path, "other_fl", "other", ATTACK.replace('"shift"', '"acme/shift"'))
    out = installed(
        f"from fedcore import Scenario; Scenario(attack='acme/shift', {SHARES})", status=1
    )
    assert (
        "attack 'acme/shift' is registered by two packages, acme_fl (module acme_fl.parts) and "
        "other_fl (module other_fl.parts): uninstall one, or have one choose another name" in out
    )


def test_two_packages_with_one_entry_point(tmp_path: Path, installed) -> None:
    install(tmp_path, "acme_fl", "acme")
    install(tmp_path, "acme_two", "acme", ATTACK.replace('"shift"', '"twist"'))
    install(tmp_path, "other_fl", "other")
    expected = (
        "entry point 'acme' is of several packages, acme_fl and acme_two: uninstall all but one, "
        "or have one choose another name"
    )
    out = installed(
        "from fedcore import Scenario\n"
        "from fedcore.errors import FedcoreError\n"
        f"print(Scenario(attack='other/shift', {SHARES}).attack)\n"
        "for name in ('shift', 'twist(by=2)', 'nobody'):\n"
        "    try:\n"
        f"        Scenario(attack='acme/' + name, {SHARES})\n"
        "    except FedcoreError as error:\n"
        "        print(*error.problems)\n"
        "try:\n"
        "    import acme_two.parts\n"
        "except FedcoreError as error:\n"
        "    print(error)\n"
        "from fedcore.cli import main; main(['list', 'attacks'])\n"
    ).splitlines()
    assert out[:5] == ["other/shift", *[expected] * 4]
    assert sum(expected in line for line in out[5:]) == 1  # in the list, too
    assert not any("acme/" in line for line in out[5:])
    code = "from fedcore.cli import main; raise SystemExit(main(['run', '--attack', 'acme/shift', "
    assert expected in installed(code + "'--malicious-fraction', '0.3']))", status=2)


def test_distributions_of_modules() -> None:
    assert packages.distribution("fedcore.attacks.attack") == "fedcore"
    assert packages.distribution("torch.nn") == "torch"
    assert packages.distribution("nowhere.near") == "nowhere"
    assert packages.qualified("mine", "nowhere.near") == "mine"


def test_a_class_known_by_its_path_is_known_where_it_is_unpickled(tmp_path, installed) -> None:
    (tmp_path / "mine.py").write_text(
        ATTACK.replace('@ATTACKS.register("shift", "adds a constant to its own update")', "")
    )
    made = installed(
        "import pickle; from fedcore import Scenario; from mine import Shift\n"
        f"print(pickle.dumps(Scenario(attack=Shift(by=2), {SHARES})).hex())\n"
    )
    out = installed(
        f"import pickle; s = pickle.loads(bytes.fromhex('{made.strip()}'))\n"
        "from fedcore.records.provenance import code_of\n"
        "print(s.attack, s.parts.attack.name, *(kind for kind, _ in code_of(s, 'x').foreign))\n"
        "from fedcore import Scenario; print(Scenario.from_dict(s.to_dict()) == s)\n"
    )
    assert out.splitlines() == ["mine:Shift mine:Shift attack", "True"]
