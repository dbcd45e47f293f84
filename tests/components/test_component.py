"""Components: values that own their parameters, written and read back, pickled, redeclared."""

from __future__ import annotations

import dataclasses
import pickle
from typing import TYPE_CHECKING, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcore.components import Component, param
from fedcore.components.component import redeclare
from fedcore.components.parameters import REQUIRED
from fedcore.components.registry import REGISTRIES, Registry
from fedcore.components.written import DEEPEST, choice, component, pieces
from fedcore.errors import RegistrationError, ScenarioError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path as Elsewhere

# of this file's own: kinds that no scenario has
TRIGGERS: Registry[type[Trigger]] = Registry("test trigger", "tests.components")
BEASTS: Registry[type[Beast]] = Registry("test beast", "tests.components")
for _registry in (TRIGGERS, BEASTS):
    _registry._discovered = True


class Trigger(Component):
    kind: ClassVar[str] = "test trigger"


@TRIGGERS.register("square", "a bright square")
class Square(Trigger):
    size: int = param("side", default=3, low=1)
    at: str = param("where", default="corner", choices=("corner", "middle"))


class Beast(Component):
    kind: ClassVar[str] = "test beast"


@BEASTS.register("backdoor", "a trigger and a class")
class Backdoor(Beast):
    target: int = param("class", low=0)
    trigger: Trigger = param("what is stamped", default=Square())
    levels: tuple[int, ...] = param("grey", default=(1, 2))
    place: tuple[int, int] = param("row and column", default=(0, 0), low=0)
    epochs: int | tuple[int, int] = param("epochs", default=1, low=1)
    share: float = param("share", default=0.5, low=0, high=1, open_low=True, token="s")
    mode: Literal["add", "set"] = param("how", default="add")
    bold: bool = param("bold", default=False)
    note: str | None = param("free text", default=None)
    extra: int = param("came later", default=7, later=True)


@BEASTS.register("scaled", "another one, stretched")
class Scaled(Beast):
    of: Beast | None = param("what is stretched", default=None)
    gamma: float | None = param("factor", default=None, low=0, open_low=True)


def test_a_component_is_a_frozen_value() -> None:
    one, same = Backdoor(target=1, share=1), Backdoor(target=1, share=1.0)
    assert one == same != Backdoor(target=2)
    assert hash(one) == hash(same)
    assert one.share.__class__ is float
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.target = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="missing"):
        Backdoor()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="targt"):
        Backdoor(target=1, targt=1)  # type: ignore[call-arg]


def test_all_problems_of_a_component_are_reported_together() -> None:
    with pytest.raises(ScenarioError) as caught:
        Backdoor(target=-1, share=0.0, mode="mul", place=(1, 2, 3), levels=("a",), trigger="circle")
    assert caught.value.problems == (
        "target must be >= 0, got -1",
        "trigger: unknown test trigger 'circle'. Known: square.",
        "levels must be an integer, got 'a'",
        "place must be a tuple of 2 integers, got (1, 2, 3)",
        "share must be in (0, 1], got 0.0",
        "mode must be one of add, set, got 'mul'",
    )
    with pytest.raises(ScenarioError, match="must be test trigger Trigger, got Scaled"):
        Backdoor(target=1, trigger=Scaled())  # type: ignore[arg-type]


def test_the_written_forms() -> None:
    one = Backdoor(target=1, note="a, b)", epochs=(1, 3))
    assert str(one) == "backdoor(target=1, epochs=(1, 3), note='a, b)')"
    assert one.spelled() == (
        "backdoor(bold=False, epochs=(1, 3), levels=(1, 2), mode='add', note='a, b)', "
        "place=(0, 0), share=0.5, target=1, trigger=square(at='corner', size=3))"
    )
    assert "extra=8" in Backdoor(target=1, extra=8).spelled()
    assert "extra" not in one.flat()
    assert one.flat()["test beast"] == "backdoor"
    written = "scaled(of=backdoor(target=0, trigger=square(size=5, at=middle), bold=yes), gamma=10)"
    assert component("test beast", written) == Scaled(
        of=Backdoor(target=0, trigger=Square(size=5, at="middle"), bold=True), gamma=10.0
    )
    assert component("test beast", "scaled(gamma=none)") == Scaled()
    assert component("test beast", "backdoor(target=1, epochs=1-3)").epochs == (1, 3)
    assert component("test beast", " scaled ( ) ") == Scaled()


beasts = st.builds(
    Backdoor,
    target=st.integers(0, 9),
    trigger=st.builds(Square, size=st.integers(1, 9), at=st.sampled_from(("corner", "middle"))),
    levels=st.lists(st.integers(), max_size=3).map(tuple),
    place=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    epochs=st.integers(1, 5) | st.just((1, 4)),
    share=st.floats(0, 1, exclude_min=True),
    note=st.none() | st.text(max_size=8).filter(lambda t: t.strip().lower() != "none"),
    extra=st.integers(),
)


@given(st.recursive(beasts, lambda inner: st.builds(Scaled, of=inner, gamma=st.just(2.0))))
def test_what_is_spelled_reads_back_as_the_same(one: Beast) -> None:
    assert component("test beast", one.spelled()) == one
    assert component("test beast", str(one)) == one
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    ("written", "problems"),
    [
        ("scald", ["unknown test beast 'scald'. Did you mean 'scaled'? Known: backdoor, scaled."]),
        ("backdoor", ["test beast 'backdoor' needs target (>= 0)"]),
        (
            "backdoor(targt=1, share=2)",
            [
                "test beast 'backdoor' has no parameter 'targt'. Did you mean 'target'? Known: "
                "target, trigger, levels, place, epochs, share, mode, bold, note, extra.",
                "test beast 'backdoor' needs target (>= 0)",
                "share must be in (0, 1], got 2.0",
            ],
        ),
        (
            "scaled(of=backdoor(target=x, trigger=square(size=0)), gamma=-1)",
            [
                "of: target must be an integer, got 'x'",
                "of: trigger: size must be >= 1, got 0",
                "gamma must be > 0, got -1.0",
            ],
        ),
        ("scaled(gamma=1", ["test beast must be a name, or name(parameter=value, ...), got"]),
        ("scaled(gamma=(1)", ["test beast 'scaled(gamma=(1)': a bracket or a quote is not closed"]),
        ("scaled(3)", ["test beast 'scaled(3)': write parameter=value, got '3'"]),
        ("scaled(gamma=1, gamma=2)", ["gamma is given twice"]),
        ("no.such:Thing", ["the module 'no.such' cannot be imported (ModuleNotFoundError"]),
        ("tests.components.test_component:Backdor", ["did you mean 'Backdoor'?"]),
        ("tests.components.test_component:Square", ["is no test beast: name a class"]),
    ],
)
def test_every_wrong_form_is_explained(written: str, problems: list[str]) -> None:
    with pytest.raises((ScenarioError, UnknownNameError, RegistrationError)) as caught:
        component("test beast", written)
    found = getattr(caught.value, "problems", (str(caught.value),))
    assert len(found) == len(problems)
    assert all(part in text for part, text in zip(problems, found, strict=True)), found


def test_an_import_path_names_a_class_that_nobody_registered() -> None:
    class Here(Beast):
        pass

    made = component("test beast", "tests.components.test_component:Own(by=3)")
    assert made == Own(by=3)
    assert made.spelled() == "tests.components.test_component:Own(by=3)"
    # a registered class keeps its name, however it is called
    path = "tests.components.test_component:Scaled"
    assert choice("test beast", path).cls is Scaled
    assert component("test beast", path).spelled() == "scaled"


class Own(Beast):
    by: int = param("steps", default=1)


def test_pieces_are_cut_outside_brackets_and_quotes() -> None:
    assert pieces("a(b=1, c=2), 'x, y' , d") == ["a(b=1, c=2)", "'x, y'", "d"]
    assert pieces(" ") == []
    with pytest.raises(ValueError, match="a bracket too many"):
        pieces("a)")


def test_components_inside_components_have_a_limit() -> None:
    def deep(levels: int) -> str:
        return "scaled(of=" * levels + "scaled" + ")" * levels

    one = component("test beast", deep(DEEPEST))
    assert component("test beast", one.spelled().replace("gamma=None, ", "")) == one
    for levels in (DEEPEST + 1, 200, 20_000):
        with pytest.raises(ScenarioError) as caught:
            component("test beast", deep(levels))
        (problem,) = caught.value.problems
        assert problem == (
            f"test beast '{'scaled(of=' * 20}...': more than 20 brackets within one another: write "
            "fewer components inside components"
        )
    written = "backdoor(target=1, note='" + "(" * 50 + "')"
    assert component("test beast", written).note == "(" * 50


def test_an_annotation_without_param_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Bare\.size is annotated and declares nothing"):

        class Bare(Component):
            size: int = 3

    class Odd(Component):
        size: list[int] = param("sizes", default=())

    with pytest.raises(TypeError, match=r"Odd\.size: a parameter is int"):
        Odd.specs()

    class Unknown(Component):
        where: Elsewhere = param("a path", default=None)

    with pytest.raises(TypeError, match=r"Unknown\.where: the annotation 'Elsewhere' cannot be"):
        Unknown.specs()
    with pytest.raises(TypeError, match="later needs a default"):
        param("later", later=True)


def test_keywords_of_register_redeclare_what_is_known() -> None:
    @BEASTS.register("mild", "another default", share=0.25, target=REQUIRED)
    class Mild(Beast):
        depth: int = param("layers", default=2)

    try:
        made = Mild(target=3)
        assert (made.depth, made.share) == (2, 0.25)
        assert str(component("test beast", "mild(target=3, share=0.5)")) == (
            "mild(share=0.5, target=3)"
        )
        with pytest.raises(ScenarioError, match=r"share must be in \(0, 1\]"):
            Mild(target=3, share=7)
        with pytest.raises(RegistrationError, match="'shift_by' is no parameter that components"):
            BEASTS.register("shifted", "an unknown one", shift_by=1)(type("Shifted", (Beast,), {}))
        with pytest.raises(
            TypeError, match=r"Wide\.share: its own default: share must be in \(0, 1\]"
        ):
            BEASTS.register("wide", "a wrong default", share=7)(type("Wide", (Beast,), {}))
    finally:
        BEASTS._entries.pop("mild")


def test_a_class_that_is_registered_twice_has_two_names() -> None:
    BEASTS.register("copied", "the same again")(Scaled)
    try:
        copied = component("test beast", "copied(gamma=2)")
        assert (Scaled.name, copied.name) == ("scaled", "copied")
        assert isinstance(copied, Scaled)
        assert copied != Scaled(gamma=2)
        assert pickle.loads(pickle.dumps(copied)) == copied
        with pytest.raises(ValueError, match=r"'copied' is registered already, by tests\.compon"):
            BEASTS.register("copied", "")(type("Late", (Beast,), {}))
    finally:
        BEASTS._entries.pop("copied")


def test_redeclared_parameters_keep_those_of_the_class() -> None:
    class Plain(Beast):
        depth: int = param("layers", low=1)

    redeclare(Plain, {"share": (Backdoor.specs()["share"], 0.1)})
    assert list(Plain.specs()) == ["depth", "share"]
    assert Plain.specs()["depth"].low == 1
    assert Plain(depth=2) == Plain(depth=2, share=0.1) != Plain(depth=3)
    assert REGISTRIES["test beast"] is BEASTS
