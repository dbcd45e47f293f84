from __future__ import annotations

import sys

import pytest

from fedcore.components.registry import REQUIRED, Registry
from fedcore.errors import RegistrationError, UnknownNameError
from fedcore.scenario.validation import registries


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one module; its name, and a function that writes the module."""
    folder = tmp_path / "toyalgorithms"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield "toyalgorithms", (folder / "plain.py").write_text
    for name in [name for name in sys.modules if name.startswith("toyalgorithms")]:
        del sys.modules[name]


def test_a_new_file_is_all_that_an_algorithm_needs(package, monkeypatch) -> None:
    name, write = package
    registry: Registry[type] = Registry("toy", name)
    monkeypatch.setattr(sys.modules[__name__], "TOYS", registry, raising=False)
    monkeypatch.setitem(sys.modules, "toyregistry", sys.modules[__name__])
    write(
        "from toyregistry import TOYS\n"
        "@TOYS.register('plain', 'a toy', alpha=1.5)\n"
        "class Plain: ...\n"
    )
    assert "plain" in registry
    assert list(registry) == ["plain"]
    entry = registry.entry("plain")
    assert (entry.summary, entry.parameters) == ("a toy", {"alpha": 1.5})
    assert registry["plain"].__name__ == "Plain"


def test_a_broken_module_does_not_leave_half_a_registry(package) -> None:
    name, write = package
    registry: Registry[type] = Registry("toy", name)
    write("raise RuntimeError('broken')\n")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            list(registry)


def test_a_taken_name_is_refused() -> None:
    registry: Registry[type] = Registry("toy", "fedcore.strategies")
    registry.register("one", "first")(int)
    with pytest.raises(ValueError, match="toy 'one' is registered already"):
        registry.register("one", "second")(float)


@pytest.mark.parametrize(("kind", "registry"), registries().items())
def test_unknown_names_get_the_nearest_and_all_known(kind, registry) -> None:
    # import paths of other tests' components may be there, too
    for name in (name for name in registry if ":" not in name):
        with pytest.raises(UnknownNameError) as caught:
            registry.entry(name.upper() + "x")
        assert caught.value.kind == registry.kind
        assert f"Did you mean '{name}'?" in str(caught.value) or name in str(caught.value)
    with pytest.raises(UnknownNameError) as caught:
        registry.entry("0000000")
    assert "Did you mean" not in str(caught.value)
    assert str(caught.value).endswith(f"Known: {', '.join(registry)}.")


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("strategy", "fednovo", "fednova"),
        ("strategy", "Krum", "krum"),
        ("attack", "label_flip", "labelflip"),
        ("partition", "dirichelt", "dirichlet"),
        ("model", "mobilenetv2", "mobilenet_v2"),
        ("optimizer", "momentun", "momentum"),
        ("dataset", "bloodmist", "bloodmnist"),
    ],
)
def test_nearest_name(kind, wrong, right) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean '{right}'"):
        registries()[kind].entry(wrong)


def test_required_prints_as_its_name() -> None:
    assert repr(REQUIRED) == "REQUIRED"


def test_a_class_without_a_method_that_its_kind_needs_is_refused() -> None:
    from fedcore.attacks.attack import ATTACKS, LabelAttack

    message = "attack 'dull': class Dull must define the method 'relabel'; is 'relabl' meant for it"
    with pytest.raises(RegistrationError, match=message):

        @ATTACKS.register("dull", "misspelt")
        class Dull(LabelAttack):
            def relabl(self, labels, num_classes, generator):
                return labels

    assert "dull" not in ATTACKS


def test_a_dotted_name_gets_the_form_of_an_import_path() -> None:
    registry = registries()["strategy"]
    with pytest.raises(UnknownNameError, match=r"An import path is written acme\.rules:Mine"):
        registry.entry("acme.rules.Mine")
    with pytest.raises(UnknownNameError) as caught:
        registry.entry("krumm")
    assert "import path" not in str(caught.value)
