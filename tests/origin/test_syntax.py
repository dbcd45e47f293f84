from __future__ import annotations

from pathlib import Path

import pytest

from fedcore.origin import syntax
from fedcore.origin.syntax import canonical, digest

CODE = '''
"""Doc."""
from math import pi

SCALE = 1.0
"""Half of two."""


@staticmethod
def area(r: float, *, n=2) -> float:
    """The area."""
    return pi * r**n if r > 0 else f"{r!r:>3} none"


class Empty:
    """Nothing."""
'''


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(syntax, "user_cache", lambda: tmp_path)
    return tmp_path / "fedcore" / "code"


def of(code: str, **more: str) -> str:
    files = {"a.py": code, **{f"{name}.py": text for name, text in more.items()}}
    return digest([(name, text.encode()) for name, text in files.items()])


@pytest.mark.parametrize(("old", "new"), [
    ('"""Doc."""', ""),
    ('"""Doc."""', '"""Another."""'),
    ('"""Half of two."""', "# half of two"),
    ('    """The area."""\n', "\n\n    # The area\n"),
    ('    """Nothing."""', "    pass"),
    ("SCALE = 1.0", "SCALE  =  (1.00)  # a comment"),
    ("float, *, n=2) -> float:", "float,\n    *,\n    n=0x2,\n) -> float:  # type: ignore"),
    ("\n\n\nclass", "\nclass"),
    ('f"{r!r:>3} none"', "f'{r!r:>3}' ' none'"),
])  # fmt: skip
def test_what_computes_nothing_changes_nothing(old, new) -> None:
    assert old in CODE
    assert of(CODE.replace(old, new)) == of(CODE)


@pytest.mark.parametrize(("old", "new"), [
    ("SCALE = 1.0", "SCALE = 1"),
    ("SCALE = 1.0", "SCALE = -1.0"),
    ("SCALE = 1.0", "SCALE = True"),
    ("SCALE = 1.0", "SCALE = 1.0000000000000002"),
    ("SCALE = 1.0", "SCALE: float = 1.0"),
    ("SCALE = 1.0", "SCALE = '1.0'"),
    ("r: float", "r: int"),
    ("n=2", "n=3"),
    ("*, n", "n"),
    ("r > 0", "r >= 0"),
    ("-> float", ""),
    ("@staticmethod\n", ""),
    ("pi * r", "pi + r"),
    ("r!r", "r!s"),
    (":>3", ":>4"),
    (" none", " None"),
    ("class Empty", "class Full"),
    ("import pi", "import e as pi"),
    ("return", "r"),
])  # fmt: skip
def test_what_may_compute_something_else_changes_it(old, new) -> None:
    assert old in CODE
    assert of(CODE.replace(old, new)) != of(CODE)


def test_order_counts_and_so_do_names_of_files() -> None:
    assert of("a = 1\nb = 2") != of("b = 2\na = 1")
    assert of("a = 1", b="") != of("", b="a = 1")
    assert of("a = 1", b="b = 2") != of("a = 1\nb = 2", b="")
    assert of("raise A from None") != of("raise A")
    assert of("f(**a)") != of("f(a=a)")
    assert of("{**a}") != of("{None: a}")


def test_docstrings_that_are_asked_for_count() -> None:
    text = '"""One."""\nprint(__doc__)'
    assert of(text) != of(text.replace("One", "Two"))
    # elsewhere, too, where somebody may ask for those of others
    for asks in ("print(thing.__doc__)", "getattr(a, '__doc__')", "inspect.getdoc(a)"):
        assert of(CODE, b=asks) != of(CODE.replace("The area", "A"), b=asks)
    assert of(CODE, b=text) == of(CODE.replace("The area", "A"), b=text)


def test_what_is_not_python_counts_byte_for_byte() -> None:
    c = [("kernel.c", b"int x; /* one */")]
    assert digest(c) != digest([("kernel.c", b"int x; /* two */")])
    broken = "def ("
    assert of(broken) != of(broken + " ")
    deep = "x = " + "(" * 5000 + ")" * 5000
    assert of(deep) != of(deep + " ")


def test_huge_numbers_and_odd_strings() -> None:
    number = "x = 0x" + "f" * 5000
    assert of(number) != of(number + "f")
    assert of(r"x = '\ud800'") != of(r"x = '\ud801'")
    assert of("x = 1e999") == of("x = 2e999") != of("x = -1e999")


def test_it_is_kept_and_a_damaged_copy_is_not_believed(kept: Path, monkeypatch) -> None:
    found = of(CODE)
    (file,) = kept.iterdir()
    monkeypatch.setattr(syntax, "canonical", lambda *_: pytest.fail("parsed again"))
    assert of(CODE) == found
    monkeypatch.undo()
    monkeypatch.setattr(syntax, "user_cache", lambda: kept.parent.parent)
    file.write_text(file.read_text().replace(found, "0" * 16))
    assert of(CODE) == found
    file.write_bytes(b"\xff")
    assert of(CODE) == found


def test_a_folder_that_others_can_write_to_is_not_believed(kept: Path) -> None:
    found = of(CODE)
    (file,) = kept.iterdir()
    text = f"{'0' * 16} {syntax._check(file.name, '0' * 16)}"
    file.write_text(text)
    assert of(CODE) == "0" * 16  # one's own folder is believed
    kept.chmod(0o777)
    assert of(CODE) == found
    assert file.read_text() == text


def test_trees_not_bytes(kept: Path) -> None:
    assert canonical("a.py", b"x=1").startswith(b"tree ")
    assert canonical("a.py", b"x=").startswith(b"bytes ")
