"""The ``derefl`` command: its subcommands, and errors printed in one line."""

import argparse
import codecs
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from derefl import DereflError, __version__
from derefl.commands import (
    bench,
    demo,
    duplicates,
    evaluate,
    export,
    faiss,
    index,
    models,
    publish,
    remove,
    scan,
    search,
    train,
)
from derefl.commands.options import Parser, add_command
from derefl.commands.output import Harmless, print_error
from derefl.errors import is_out_of_memory

# fmt: off
COMMANDS = (
    remove, scan, index, search, duplicates, demo, models, evaluate, train, bench,
    publish, export, faiss,
)
# fmt: on
"""Modules with ``HELP``, ``add_options(parser)`` and ``run(args) -> int``; most also have
``DESCRIPTION`` and ``EXAMPLES``. They import torch and other slow packages only when they run, so
``--help`` is fast."""

EXAMPLES = """examples:
  derefl remove window.jpg -o clean.jpg        one photo
  derefl remove photos/ -o cleaned/ --compare  a folder, with before/after pictures
  derefl index photos/ -o photos.lcdh          make a folder of photos searchable
  derefl search photos.lcdh "a dog on a beach" find the photos that show it
  derefl remove --help                         all options of a command
"""


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    result = Parser(
        prog="derefl",
        description="Remove reflections from photos taken through glass, and find photos by words.",
        epilog=EXAMPLES,
    )
    result.add_argument("--version", action="version", version=f"derefl {__version__}")
    subparsers = result.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        add_command(subparsers, command)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        The exit status: 0 for success, 1 for an error, 130 for Ctrl-C, 141 if the output pipe was
        closed, as in ``derefl models | head -1``. Bad usage exits with 2.
    """
    prepare_streams()
    if argv is None:  # run as a program, not called from Python: SIGTERM works like Ctrl-C
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            args = parser().parse_args(argv)
            with redirect_stdout(Harmless(sys.stdout)):
                return args.run(args)
        except DereflError as error:
            return print_error(str(error))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return print_error("out of memory; process less at once, or close other programs")
        finally:
            sys.stdout.flush()  # report a full disk here, not in a traceback at exit
    except KeyboardInterrupt:
        return print_error("interrupted", 130)
    except OSError as error:
        lost = discard_output()
        if isinstance(error, BrokenPipeError):
            return 141
        where = error.filename or ("standard output" if lost else "")
        return print_error(f"{where}: {error.strerror or error}".removeprefix(": "))


def discard_output() -> bool:
    """Whether standard output cannot be written; if so, avoid a traceback when Python exits."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def prepare_streams() -> None:
    """Open missing standard streams, and let the output accept every character."""
    for name, mode in (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:  # closed by the shell; a write to stdout is still an error
            stream = os.fdopen(os.open(os.devnull, mode), "r" if name == "stdin" else "w")
            setattr(sys, name, stream)
    codecs.register_error("derefl", encoded)
    for output, errors in ((sys.stdout, "derefl"), (sys.stderr, "backslashreplace")):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors=errors)


def encoded(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes of a file name that is not UTF-8, or escapes for other unprintable characters."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)
