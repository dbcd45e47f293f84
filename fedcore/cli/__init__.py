"""The command ``fedcore``: run one scenario, list components, render reports, compare sessions."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from fedcore import __version__
from fedcore.cli import (
    compare_command,
    list_command,
    report_command,
    run_command,
    tune_command,
)
from fedcore.cli.process import exit_with
from fedcore.cli.streams import discard_output, lost_output, prepare, tell, warn_in_one_line
from fedcore.errors import FedcoreError, nearest
from fedcore.interrupts import Interrupts, Terminated, status_of

OK, FAILED, USAGE = 0, 1, 2
"""Exit statuses: done; a run or its output failed; what was given cannot be used. Ctrl-C is 130,
SIGTERM 143."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (default: the process's); returns the exit status."""
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()  # a closed pipe shows here, not after the last line of Python
        return status
    except FedcoreError as error:
        tell(error)
        # words, files and places that were given; others are about what was computed of them
        return USAGE if isinstance(error, ValueError | OSError) else FAILED
    except KeyboardInterrupt as interrupt:
        tell("terminated" if isinstance(interrupt, Terminated) else "interrupted")
        return status_of(interrupt)
    except BrokenPipeError:  # as in `fedcore list | head`
        discard_output()
        return FAILED
    except OSError as error:
        if (lost := lost_output(error)) is not None:
            discard_output()
            tell(f"standard output cannot be written to ({lost}); what was printed is lost")
            return FAILED
        tell(f"the system refuses something that is needed ({error}); see to it, and run again")
        return USAGE
    except MemoryError:
        tell("memory ran out: take fewer or smaller images, a smaller model or fewer processes")
        return FAILED


def command() -> NoReturn:
    """The console command ``fedcore``: `main`, and the end of the process.

    Import paths such as ``mypkg.attacks:Shift`` are looked up in the current folder, too, behind
    all other places, as ``python -m`` does, unless Python was told not to (``PYTHONSAFEPATH``).
    """
    if (problem := prepare()) is not None:
        tell(problem)
        raise SystemExit(USAGE)
    warn_in_one_line()
    if not sys.flags.safe_path:
        with contextlib.suppress(OSError):  # the folder has been removed
            sys.path.append(os.getcwd())
    Interrupts().install()
    exit_with(main)


def _dispatch(arguments: Sequence[str] | None) -> int:
    root = _parser()
    try:
        options, unknown = root.parse_known_args(arguments)
    except SystemExit as ending:  # --help, --version, or a usage error that has been printed
        return ending.code if isinstance(ending.code, int) else USAGE
    if unknown:
        _refuse(unknown, options.parser)
        return USAGE
    if options.command is None:
        root.print_help(sys.stderr)
        return USAGE
    return int(options.command(options))


def _parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="fedcore", description="Federated learning under data poisoning.", allow_abbrev=False
    )
    root.add_argument("--version", action="version", version=f"fedcore {__version__}")
    root.set_defaults(command=None, parser=root)
    commands = root.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Command)
    for module in (run_command, list_command, report_command, compare_command, tune_command):
        parser = commands.add_parser(
            module.NAME, help=module.HELP, description=module.DESCRIPTION, allow_abbrev=False
        )
        parser.fill = module.add_arguments
        parser.set_defaults(command=module.execute, parser=parser)
    return root


class _Command(argparse.ArgumentParser):
    """The parser of one command. Its arguments are added when it is asked for.

    Those of a scenario are the parameters of all components, which take seconds to import.
    """

    fill: Callable[[argparse.ArgumentParser], None] | None = None

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        self._filled()
        return super().parse_known_args(*arguments, **options)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            # argparse drops the word, and takes an empty list for the value
            self.error(f"argument {'/'.join(action.option_strings)}: a value is needed, got '--'")
        return super()._get_values(action, arg_strings)

    def format_help(self) -> str:
        self._filled()
        return super().format_help()

    def _filled(self) -> None:
        fill, self.fill = self.fill, None
        if fill is not None:
            fill(self)


def _refuse(unknown: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Name every argument that nobody reads, and the flag that it may have been meant for."""
    flags = sorted(parser._option_string_actions)
    for argument in unknown:
        name = argument.partition("=")[0]
        close = nearest(name, flags) if name.startswith("-") else None
        hint = f" Did you mean {close!r}?" if close else f" See {parser.prog} --help."
        print(f"{parser.prog}: unknown argument {argument!r}.{hint}", file=sys.stderr)
