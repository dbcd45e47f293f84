"""C files as programs: headers in their places, and lines that compilers report by their files."""

from __future__ import annotations

import ast
import shlex
import subprocess
from pathlib import Path

import pytest

import fedcore.native
from fedcore.errors import FedcoreError
from fedcore.native.compiler import compiler
from fedcore.native.source import program
from fedcore.native.switch import NAMES

FOLDER = Path(fedcore.native.__file__).parent


def test_each_header_once_and_in_its_place() -> None:
    text = program("convolution_forward.c", {"LANES": 8})
    assert text.startswith('#define LANES 8\n#line 1 "convolution_forward.c"\n')
    assert text.count("#ifndef FEDCORE_VECTORS_H") == 1
    assert '#include "' not in text
    places = [text.index(f'#line 1 "{name}.h"') for name in ("convolution", "vectors", "pooling")]
    assert places == sorted(places)


def test_a_text_in_the_place_of_a_header() -> None:
    text = program("selection.c", {}, {"network.h": "MEAN(77)"})
    assert '#line 1 "network.h"\nMEAN(77)\n#line ' in text
    assert "FIRST(6)" not in text


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize("name", NAMES)
def test_errors_are_reported_by_file_and_line(name: str) -> None:
    """A line that is no C, at the end of each file and of a header."""
    text = program(f"{name}.c", {"LANES": 16})
    last = len((FOLDER / f"{name}.c").read_text().splitlines())
    command = [*(compiler() or ()), "-march=x86-64-v4", "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(command, input=f"{text}!\n", capture_output=True, text=True)
    assert f"{name}.c:{last + 1}:" in done.stderr, shlex.join(command)
    broken = (FOLDER / "vectors.h").read_text() + "!\n"
    text = program(f"{name}.c", {"LANES": 16}, {"vectors.h": broken})
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert f"vectors.h:{broken.count(chr(10))}:" in done.stderr


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(
        FedcoreError, match=r"must hold nothing\.c, and does not: .* install it anew"
    ):
        program("nothing.c", {})


def test_the_room_imports_nothing_of_other_rooms() -> None:
    ground = ("errors", "cores", "notices", "cache_folder", "native", "outside")
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fedcore"):
                assert node.module.split(".")[1] in ground, path
            elif isinstance(node, ast.Import):
                assert not any(name.name.startswith("fedcore") for name in node.names), path


def test_each_c_file_has_a_module_and_a_name() -> None:
    assert {path.stem for path in FOLDER.glob("*.c")} == set(NAMES)
    assert all((FOLDER / f"{name}.py").exists() for name in NAMES)
