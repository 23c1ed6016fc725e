"""The parser and the common options of the commands."""

import argparse
import math
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from derefl.errors import ConfigError
from derefl.imaging.formats import rgb
from derefl.imaging.opening import MAX_MEGAPIXELS

MODEL_HELP = "a name listed by 'derefl models', a .safetensors file, a folder or a Hub repo id"


class Formatter(argparse.RawDescriptionHelpFormatter):
    """A help formatter that keeps the line breaks of multi-line texts and wraps one-line texts."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return super()._fill_text(
            text if "\n" in text else textwrap.fill(text, width), width, indent
        )


class Store(argparse._StoreAction):
    """An option with values. A repeated option adds values, or is refused if it takes one value."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        if option and self in parser.stored:
            if self.nargs != "+":
                raise argparse.ArgumentError(self, "given twice; leave one of them out")
            values = [*getattr(namespace, self.dest), *values]
        parser.stored.add(self)
        super().__call__(parser, namespace, values, option)


class Parser(argparse.ArgumentParser):
    """The parser of ``derefl`` and, through ``add_subparsers``, of each command."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **{"formatter_class": Formatter} | options)  # type: ignore[arg-type]
        self.register("action", None, Store)

    def parse_known_args(self, *args: Any, **options: Any) -> Any:
        """Parse with no options seen yet."""
        self.stored: set[argparse.Action] = set()
        return super().parse_known_args(*args, **options)

    def error(self, message: str) -> NoReturn:
        """Print the usage and a one-line message, and exit with status 2."""
        super().error(" ".join(message.splitlines()))


def add_command(subparsers: Any, command: ModuleType) -> None:
    """Add a module of this folder as a command; ``evaluate_names`` is called ``names``."""
    parser = subparsers.add_parser(
        command.__name__.rpartition(".")[2].rpartition("_")[2],
        help=command.HELP,
        description=getattr(command, "DESCRIPTION", None),
        epilog=getattr(command, "EXAMPLES", None),
    )
    parser.set_defaults(run=getattr(command, "run", None), refuse=parser.error)
    command.add_options(parser)


def device(text: str) -> str:
    """A device name of torch. Loading a model checks whether the machine has the device."""
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,2})?", text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected cpu, cuda, cuda:1 or mps")
    return text


def words(text: str) -> str:
    """A text; bytes that are not valid UTF-8 become U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """A function that reads whole numbers in a range."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            span = f"at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number {span}")
        return int(text)

    return read


def number(fits: Callable[[float], bool], expected: str) -> Callable[[str], float]:
    """A function that reads numbers in a range."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not fits(value):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a number {expected}")
        return value

    return read


positive = number(lambda value: 0 < value < math.inf, "above 0")
share = number(lambda value: 0 <= value <= 1, "from 0 to 1")


def colour(text: str) -> str:
    """The name or the hexadecimal code of a colour."""
    try:
        rgb(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device",
        type=device,
        default="cpu",
        help="cpu, cuda, cuda:1 or mps (default: %(default)s)",
    )


def add_model(parser: argparse._ActionsContainer, default: str | None, more: str = "") -> None:
    """Add ``--model``; ``more`` is appended to its help."""
    more = more or " (default: %(default)s)"
    parser.add_argument("--model", metavar="NAME", default=default, help=MODEL_HELP + more)


def add_exclude(parser: argparse._ActionsContainer) -> None:
    """Add ``--exclude``."""
    parser.add_argument(
        "--exclude",
        metavar="PATTERN",
        action="append",
        default=[],
        help="skip files and folders whose name or end of the path matches PATTERN: '*.png', old, "
        "2019/raw. Repeat the option for several patterns",
    )


def add_max_megapixels(parser: argparse._ActionsContainer) -> None:
    """Add ``--max-megapixels``."""
    parser.add_argument(
        "--max-megapixels",
        metavar="N",
        type=positive,
        default=MAX_MEGAPIXELS,
        help="refuse larger pictures (default: %(default)g)",
    )


def add_workers(parser: argparse._ActionsContainer) -> None:
    """Add ``--workers``."""
    parser.add_argument(
        "--workers",
        metavar="N",
        type=whole_number(1),
        default=1,
        help="threads that read and write pictures while the network runs; each holds two "
        "pictures in memory (default: %(default)s)",
    )


def add_json(parser: argparse._ActionsContainer) -> None:
    """Add ``--json``."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else"
    )


def add_contact_sheet(parser: argparse._ActionsContainer) -> None:
    """Add ``--contact-sheet``."""
    parser.add_argument(
        "--contact-sheet",
        metavar="OUT",
        type=Path,
        help="also write one picture with small copies of the photos, for example OUT.jpg; a "
        "missing photo is a grey tile",
    )


def add_overwrite(parser: argparse._ActionsContainer) -> None:
    """Add ``--overwrite``."""
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
