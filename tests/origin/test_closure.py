"""Code from outside fedcore: whatever an edit of it changes the result, it changes the digest."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path

import numpy
import pytest

from fedcore import Scenario
from fedcore.origin import search, sources
from fedcore.origin.closure import UNKNOWN, ForeignCode, foreign_code
from fedcore.origin.search import find
from fedcore.records.provenance import CHANGED, code_digest, code_of
from fedcore.strategies.strategy import STRATEGIES


def as_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign_code.cache_clear()
    search.distributions.cache_clear()
    importlib.invalidate_caches()
    for name, empty in (
        ("_first", {}),
        ("_digested", set()),
        ("_held", set()),
        ("_loaded", set()),
        ("_scanned", 0),
    ):
        monkeypatch.setattr(sources, name, empty)
    for name in [n for n in sys.modules if n.partition(".")[0].startswith("out_")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path."""
    # it is found out once a process, so not while the state of files is a made-up one
    assert code_digest() != CHANGED
    monkeypatch.syspath_prepend(tmp_path)
    as_a_new_process(monkeypatch)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    """Files by name: ``out_a__b`` is out_a/b.py."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def code(*modules: str) -> ForeignCode:
    found = foreign_code(frozenset(modules), frozenset())
    assert found is not None
    return found


#: The component's module, its text, the file that holds the arithmetic, what else there is.
LAYOUTS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "the module itself": ("out_a", "", "out_a", {}),
    "a helper": ("out_a", "from out_h import scale", "out_h", {}),
    "a helper's helper": ("out_a", "import out_b", "out_h", {"out_b": "import out_h"}),
    "in a function": ("out_a", "def step():\n    from out_h import scale", "out_h", {}),
    "in a condition": ("out_a", "try:\n    import out_h\nexcept ImportError: pass", "out_h", {}),
    "by a literal name": (
        "out_a",
        "import importlib\nh = importlib.import_module('out_h')",
        "out_h",
        {},
    ),
    "under another name": ("out_a", "import out_p.sub as y", "out_p/sub", {}),
    "a name of a package": ("out_a", "from out_p import sub", "out_p/sub", {}),
    "a package's own file": ("out_a", "import out_p.sub", "out_p/__init__", {"out_p__sub": ""}),
    "relative": ("out_p.a", "from . import h", "out_p/h", {}),
    "relative, deeper": ("out_p.q.a", "from ..h import f", "out_p/h", {}),
    "relative, literal": (
        "out_p.a",
        "import importlib\nimportlib.import_module('.h', __package__)",
        "out_p/h",
        {},
    ),
    "found at run time in the package": ("out_p.a", "", "out_p/plugins/one", {}),
    "a namespace": ("out_n.deep.a", "import out_n.other.b", "out_n/other/b", {}),
    "a star": ("out_a", "from out_h import *", "out_h", {}),
    "a name of Python's": ("out_a", "import out_h.statistics", "out_h/statistics", {}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_edit_of_the_arithmetic_changes_the_digest(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module, text, edited, files = LAYOUTS[name]
    write(project, out_unrelated="x = 1", **files)
    write(project, **{module.replace(".", "__"): text})
    arithmetic = project / f"{edited}.py"
    arithmetic.parent.mkdir(parents=True, exist_ok=True)
    whole = arithmetic.read_text() if arithmetic.exists() else ""
    digests = []
    for line in ("SCALE = 1.0", "SCALE = 0.0", "SCALE = 1.0  # a comment"):
        arithmetic.write_text(f"{whole}\n{line}\n")
        as_a_new_process(monkeypatch)
        digests.append(code(module).digest)
    assert digests[0] == digests[2] != digests[1]
    (project / "out_unrelated.py").write_text("x = 2")
    as_a_new_process(monkeypatch)
    assert code(module).digest == digests[2]
    assert not any(n.startswith("out_") for n in sys.modules), "nothing is imported"


def test_what_is_loaded_of_the_package_counts(project: Path, monkeypatch) -> None:
    """A module that the package got from elsewhere, with what it imports."""
    write(project, out_p__a="", elsewhere__late="import out_h", out_h="SCALE = 1.0")
    place = project / "elsewhere" / "late.py"
    spec = importlib.util.spec_from_file_location("out_p.late", place)
    assert spec is not None
    monkeypatch.setitem(sys.modules, "out_p.late", importlib.util.module_from_spec(spec))
    files = code("out_p.a").files
    assert {str(place), str(project / "out_h.py")} <= set(files)


def test_a_single_file_a_link_and_an_archive(project: Path, monkeypatch) -> None:
    write(project, real="SCALE = 1.0")
    (project / "out_a.py").symlink_to("real.py")
    one = code("out_a").digest
    write(project, real="SCALE = 0.0")
    as_a_new_process(monkeypatch)
    assert code("out_a").digest != one
    digests = []
    for text in ("S = 1", "S = 2"):
        with zipfile.ZipFile(project / "zipped.zip", "w") as archive:
            archive.writestr("out_z/__init__.py", "from out_z import helper")
            archive.writestr("out_z/helper.py", text)
        monkeypatch.setattr(sys, "path", [str(project / "zipped.zip"), *sys.path])
        sys.path_importer_cache.clear()
        as_a_new_process(monkeypatch)
        found = code("out_z")
        assert found.files == (str(project / "zipped.zip"),)
        digests.append(found.digest)
    assert digests[0] != digests[1]


def test_what_is_installed_enters_by_version(project: Path, monkeypatch) -> None:
    assert code_versions(project, "import numpy\nimport json")["numpy"] == numpy.__version__
    target = project / "target"
    monkeypatch.syspath_prepend(target)

    def install(version: str, text: str) -> None:
        info = target / f"out_dist-{version}.dist-info"
        write(target, out_i__sub="")
        (target / "out_i" / "__init__.py").write_text(text)
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: out-dist\nVersion: {version}")
        (info / "RECORD").write_text("out_i/__init__.py,,\nout_i/sub.py,,\n")
        (info / "top_level.txt").write_text("out_i\n")

    install("1.0", "SCALE = 1")
    write(project, out_a="import out_i")
    as_a_new_process(monkeypatch)
    by_import = code("out_a")
    assert ("out-dist", "1.0") in by_import.versions
    assert not [f for f in by_import.files if "out_i" in f]
    # a component in it: with its source, too
    own = code("out_i.sub")
    assert ("out-dist", "1.0") in own.versions
    assert str(target / "out_i" / "__init__.py") in own.files


def code_versions(project: Path, text: str) -> dict[str, str]:
    write(project, out_a=text)
    return dict(code("out_a").versions)


def test_fedcore_is_left_out_as_far_as_its_own_digest_goes(project: Path) -> None:
    write(
        project,
        out_a="from fedcore.strategies.strategy import Strategy\nimport fedcore.scenario.presets",
    )
    files = code("out_a").files
    assert sorted(Path(f).name for f in files) == ["out_a.py", "presets.py"]
    assert foreign_code(frozenset({"fedcore.strategies.robust.krum"}), frozenset({"abc"})) is None


def test_what_lies_in_no_file_is_unknown(project: Path) -> None:
    assert code("out_nowhere").digest == UNKNOWN
    assert find("out_nowhere.sub") is None


def test_nothing_ends_in_a_traceback(project: Path) -> None:
    write(project, out_a="from ... import x\nimport out_b.c.d\nfrom .z import y", out_b="def (")
    assert code("out_a").digest != UNKNOWN


BASES = {
    "out_base": "class Base:\n    scale = 1.0\n",
    "out_mixin": "class Mixin: pass\n",
    "out_rule": """
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine
from out_factory import make

@STRATEGIES.register("outrule", "for a test")
class OutRule(make()):
    pass
""",
    "out_factory": """
import importlib
from fedcore.strategies.strategy import Strategy, combine

def make():
    base = importlib.import_module("out_" + "base").Base
    mixin = importlib.import_module("out_" + "mixin").Mixin

    class Made(mixin, base, Strategy):
        def step(self, updates, cohort, memory):
            return self.scale * combine(updates, cohort.weights)

    return Made
""",
}


@pytest.mark.parametrize("edited", BASES)
def test_a_registered_component_counts_with_its_bases(
    project: Path, monkeypatch: pytest.MonkeyPatch, edited: str
) -> None:
    """Base and mixin come by names that no static search sees: the class itself names them."""
    assert "fedavg" in STRATEGIES  # it has found all of its own
    monkeypatch.setattr(STRATEGIES, "_entries", dict(STRATEGIES._entries))
    found = []
    for extra in ("", "EXTRA = 1"):
        write(project, **BASES)
        with (project / f"{edited}.py").open("a") as file:
            file.write(extra)
        as_a_new_process(monkeypatch)
        STRATEGIES._entries.pop("outrule", None)
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        importlib.import_module("out_rule")
        sys.dont_write_bytecode = before
        scenario = Scenario(strategy="outrule")
        found.append(dict(code_of(scenario, "sequential").foreign)["strategy"])
        assert code_of(Scenario(), "sequential").foreign == ()
    assert found[0] != found[1]
    # edited while the process runs: it is loaded, so what it runs is known
    (project / f"{edited}.py").write_text("EXTRA = 2")
    assert dict(code_of(scenario, "sequential").foreign)["strategy"] == found[1]


FACTORY = """
from fedcore.strategies.strategy import STRATEGIES, Strategy, combine

def make(scale):
    class Made(Strategy):
        def step(self, updates, cohort, memory):
            return scale * combine(updates, cohort.weights)

    return Made

def add(scale):
    STRATEGIES.register("outmade", "by a factory")(make(scale))
"""
CALLS = (
    "from out_factory import make, STRATEGIES\nSTRATEGIES.register('outmade', '')(make({}))\n",
    "import out_factory\nout_factory.add({})\n",
    "import out_factory\ndef late():\n    out_factory.add({})\nlate()\n",
)


@pytest.mark.parametrize("call", CALLS)
def test_what_a_factory_is_called_with_counts(
    project: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The class names the factory's module alone, the argument stands where it is registered."""
    assert "fedavg" in STRATEGIES  # it has found all of its own
    monkeypatch.setattr(STRATEGIES, "_entries", dict(STRATEGIES._entries))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = []
    for scale in (0.5, 0.0, 0.5):
        write(project, out_factory=FACTORY, out_call=call.format(scale))
        write(project, out_outer="import out_call\n")
        as_a_new_process(monkeypatch)
        STRATEGIES._entries.pop("outmade", None)
        importlib.import_module("out_outer")
        found.append(dict(code_of(Scenario(strategy="outmade"), "sequential").foreign))
    assert found[0] != found[1]
    assert found[0] == found[2]
    # who imports it computes nothing
    assert STRATEGIES.entry("outmade").modules[-1] == "out_call"
