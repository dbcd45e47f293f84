"""The pages of docs/extend do what they show: files, scripts, commands and their output."""

from __future__ import annotations

import doctest
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.newcomer import ROOT, Newcomer
from tests.docs.pages import Block, Command, blocks, write_files

LINK = re.compile(r"\]\(([^)#:]+\.md)\)")
EXTEND = ROOT / "docs" / "extend"
PAGES = ("attack", "defence", "preaggregation", "model", "dataset")
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def page(name: str) -> Path:
    return EXTEND / f"{name}.md"


def perform(given: list[Block], folder: Path, newcomer: Newcomer) -> None:
    """Do what the blocks say, in their order. AssertionError with the first line that differs."""
    for block in given:
        if block.title is not None:
            write_files([block], folder)
        elif block.commands:
            for command in block.commands:
                perform_command(command, folder, newcomer)
        else:
            done = newcomer.run([str(newcomer.python), "-c", block.text], folder)
            assert done.returncode == 0, f"line {block.line}: {done.stdout}"


def perform_command(command: Command, folder: Path, newcomer: Newcomer) -> None:
    done = newcomer.run(command.text, folder)
    where = f"line {command.line}: $ {command.text}"
    assert done.returncode == command.status, f"{where}\nstatus {done.returncode}\n{done.stdout}"
    if command.expected is not None:
        checker = doctest.OutputChecker()
        if not checker.check_output(command.expected, done.stdout, _OPTIONS):
            example = doctest.Example(command.text, command.expected)
            pytest.fail(f"{where}\n{checker.output_difference(example, done.stdout, _OPTIONS)}")


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_shows(name: str, newcomer: Newcomer, tmp_path: Path) -> None:
    perform(blocks(page(name)), tmp_path, newcomer)


@pytest.mark.slow
def test_the_page_on_packages_does_what_it_shows(wheel: Path, tmp_path: Path) -> None:
    """Beside the files of the other pages, in an environment of its own."""
    project = tmp_path / "acme-fl"
    project.mkdir()
    for name in PAGES:
        files = [b for b in blocks(page(name)) if (b.title or "").startswith("acme/")]
        write_files(files, project)
    perform(blocks(page("packaging")), project, Newcomer(tmp_path, wheel))


@pytest.mark.parametrize("name", [*PAGES, "packaging"])
def test_a_page_is_short_and_shows_whole_files(name: str) -> None:
    text = page(name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    titles = [block.title for block in blocks(page(name)) if block.title is not None]
    assert any(title.startswith("acme/") for title in titles)
    assert any(title.rpartition("/")[2].startswith("test_") for title in titles)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for title in titles:  # not every reader shows what stands on a fence
        assert f"`{title}`" in prose, f"{name}: nothing says how {title} is called"
    assert "check_component(" in text or name == "packaging"


def test_pages_that_link_to_another_name_one_that_exists() -> None:
    for place in EXTEND.glob("*.md"):
        for target in LINK.findall(place.read_text(encoding="utf-8")):
            assert (place.parent / target).is_file(), f"{place.name} links to {target}"


BROKEN = {
    "a file that cannot be used": ("def relabel(self", "def relabl(self", "relabel"),
    "output that is another": ("by3-synthetic1000", "by4-synthetic1000", "by4-synthetic1000"),
    "a command that is refused": ("--lr 0.1\n", "--lrr 0.1\n", "status 2"),
    "a message that is another": ("Did you mean 'by'?", "Did you mean 'b'?", "mean 'b'"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_page_that_shows_something_else_is_found(
    old: str, new: str, reason: str, newcomer: Newcomer, tmp_path: Path
) -> None:
    """Of the page on attacks, the files and the commands without pytest."""
    source = page("attack").read_text(encoding="utf-8")
    assert old in source
    place = tmp_path / "attack.md"
    place.write_text(source.replace(old, new), encoding="utf-8")
    quick = []
    for block in blocks(place):
        commands = tuple(c for c in block.commands if "fedcore run" in c.text)
        if block.title is not None or commands:
            quick.append(replace(block, commands=commands))
    with pytest.raises((AssertionError, pytest.fail.Exception), match=reason):
        perform(quick, tmp_path, newcomer)
