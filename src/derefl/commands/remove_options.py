"""The options of ``derefl remove``."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from derefl.commands.options import (
    add_device,
    add_model,
    add_overwrite,
    positive,
    whole_number,
)
from derefl.imaging.formats import FORMATS, is_picture_name
from derefl.imaging.opening import MAX_MEGAPIXELS

DESCRIPTION = f"""Remove the reflections from photos taken through glass.

A folder is searched for pictures ({" ".join(FORMATS)}),
its subfolders too, and its tree is kept; so it is for a pattern in quotes, "photos/**/*.jpg".
A picture that fails is reported at the end, the others are written all the same.
A picture keeps its size, mode, ICC profile, EXIF and alpha. Videos are out of scope."""

EXAMPLES = """examples:
  derefl remove window.jpg -o clean.jpg
  derefl remove a.jpg b.jpg -o cleaned/
  derefl remove photos/ -o cleaned/ --compare --device cuda
  derefl remove photos/ -o cleaned/ --resume           go on where the last run ended
  derefl remove "photos/*.jpg" --suffix .clean         photos/a.clean.jpg beside photos/a.jpg
  derefl remove scans/ -o small/ --format webp --quality 80
  derefl remove photos/ -o cleaned/ --dry-run          what would be written
  derefl remove - -o - < window.jpg > clean.jpg        in a pipe

exit status: 0 all is written, 1 something failed or was refused, 2 bad usage, 130 Ctrl-C
"""

ENDINGS = ("jpg", "png", "webp", "tif", "avif", "heic")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add INPUT and every option, in groups."""
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="photo, folder, pattern in quotes, or - for a photo from standard input",
    )
    add_output_options(parser)
    add_safety_options(parser)
    add_network_options(parser)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Options of the outputs and their location."""
    group = parser.add_argument_group("what is written")
    group.add_argument(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="a file, if INPUT is one photo and OUTPUT ends like one (.jpg, .png, …); "
        "otherwise a folder, made if missing; - is standard output. May be left out with --suffix",
    )
    group.add_argument(
        "--suffix",
        metavar="TEXT",
        type=name_part,
        help="put TEXT behind every name: .clean makes a.clean.jpg of a.jpg. Without OUTPUT it is "
        "written beside a.jpg, and what such a run wrote is not read again",
    )
    group.add_argument("--format", choices=ENDINGS, help="default: that of the input")
    group.add_argument(
        "--quality",
        metavar="N",
        type=whole_number(1, 100),
        help="1 to 100, of JPEG, WebP, AVIF and HEIF (default: 95, AVIF and HEIF 90)",
    )
    group.add_argument(
        "--reflection",
        action="store_true",
        help="also write what was taken away, as NAME.reflection.jpg beside NAME.jpg",
    )
    group.add_argument(
        "--compare",
        action="store_true",
        help="also write before, after and reflection on one sheet, as NAME.compare.png",
    )


def add_safety_options(parser: argparse.ArgumentParser) -> None:
    """Options for existing files, and for messages."""
    group = parser.add_argument_group("long runs and scripts")
    there = group.add_mutually_exclusive_group()
    add_overwrite(there)
    there.add_argument(
        "--resume",
        action="store_true",
        help="keep files that are there and write those that are missing, or older than their "
        "INPUT",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="only check, and print what would be written"
    )
    group.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object, the report: files with input, outputs, seconds, status "
        "(written, skipped, failed, pending) and error; totals",
    )
    group.add_argument(
        "--workers",
        metavar="N",
        type=whole_number(1),
        default=1,
        help="threads that read and write pictures while the network runs; each holds two "
        "pictures in memory (default: %(default)s)",
    )


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Options of the network, its device and the size of its input."""
    group = parser.add_argument_group("network")
    add_model(
        group,
        "derefl-small",
        "; derefl-small+derefl-base takes the mean of both: best on average, in the time of both "
        "(default: %(default)s)",
    )
    add_device(group)
    group.add_argument(
        "--detail",
        choices=("auto", "full"),
        default="auto",
        help="auto: the network sees large photos reduced, and its change is carried to full "
        "size; full: it sees every pixel, which takes longer (default: %(default)s)",
    )
    group.add_argument(
        "--max-megapixels",
        metavar="N",
        type=positive,
        default=MAX_MEGAPIXELS,
        help="refuse pictures that are larger (default: %(default)g)",
    )


def name_part(text: str) -> str:
    """A suffix that cannot move a file to another folder."""
    if not text or any(mark in text for mark in "/\\\0"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a part of a file name: .clean")
    return text


def refuse_usage(args: argparse.Namespace) -> None:
    """Exit with status 2 if options contradict each other."""
    refuse: Callable[[str], NoReturn] = args.refuse
    if args.output is None and (not args.suffix or "-" in args.inputs):
        refuse("the following arguments are required: -o/--output")
    if args.quality and args.format and "quality" not in FORMATS[f".{args.format}"].options:
        refuse(f"argument --quality: {args.format} has none; leave it out, or add --format jpg")
    if "-" not in (*args.inputs, args.output):
        return
    if len(args.inputs) > 1:
        refuse("argument INPUT: one photo only goes through a pipe; name it alone")
    if args.output != "-" and (
        not is_picture_name(Path(args.output)) or os.path.isdir(args.output)  # noqa: PTH112
    ):
        refuse("argument -o/--output: name a picture file, or -, for what comes from a pipe")
    files_only = ["suffix", "resume", "dry_run"]
    if args.output == "-":
        files_only += ["json", "reflection", "compare"]
    for name in files_only:
        if getattr(args, name):
            refuse(f"argument --{name.replace('_', '-')}: not with -; name files instead")
