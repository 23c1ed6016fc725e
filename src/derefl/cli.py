"""The ``derefl`` command: a table of subcommands, and errors said in one line."""

import argparse
import signal
import sys
from collections.abc import Sequence

from derefl import DereflError, __version__
from derefl.commands import (
    bench,
    demo,
    evaluate,
    export,
    faiss,
    index,
    models,
    publish,
    remove,
    search,
    train,
)

COMMANDS = (
    remove,
    index,
    search,
    demo,
    models,
    evaluate,
    train,
    bench,
    publish,
    export,
    faiss,
)
"""Modules with ``add_parser(subparsers)``, which sets their ``run(args) -> int`` as a default.
They import torch and the like only when they run, so that ``--help`` answers at once."""

EXAMPLES = """examples:
  derefl remove window.jpg -o clean.jpg        one photo
  derefl remove photos/ -o cleaned/ --compare  a folder, with before/after pictures
  derefl index photos/ -o photos.lcdh          make a folder of photos searchable
  derefl search photos.lcdh "a dog on a beach" the photos that show it
  derefl remove --help                         all there is to say about a command
"""


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    result = argparse.ArgumentParser(
        prog="derefl",
        description="Remove reflections from photos taken through glass; find photos by words.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--version", action="version", version=f"derefl {__version__}")
    subparsers = result.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status is 0, 1 for an error, 130 for Ctrl-C (2 is bad usage)."""
    args = parser().parse_args(argv)
    if argv is None:  # a process of our own; stopped from outside it ends as with Ctrl-C
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return args.run(args)
    except DereflError as error:
        print(f"derefl: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("derefl: interrupted", file=sys.stderr)
        return 130
