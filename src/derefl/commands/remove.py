"""``derefl remove``: remove reflections from photos."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from tqdm import tqdm

from derefl.commands.options import (
    add_device,
    add_exclude,
    add_max_megapixels,
    add_model,
    add_overwrite,
    add_workers,
    colour,
    share,
    whole_number,
)
from derefl.commands.output import print_error
from derefl.commands.remove_pipe import deliver, ending_of, receive, refuse_terminal
from derefl.commands.remove_report import as_json, outline, summary
from derefl.errors import DereflError
from derefl.imaging.files import open_picture
from derefl.imaging.folders import passed_over_note
from derefl.imaging.formats import FORMATS, is_picture_name
from derefl.reflection.folder import dereflect_planned
from derefl.reflection.plan import Result, plan_folder

HELP = "remove reflections from photos or folders of photos"

DESCRIPTION = f"""Remove the reflections from photos taken through glass.

INPUT can be photos, folders and patterns in quotes ("photos/**/*.jpg"). In folders and their
subfolders, these files are processed: {" ".join(FORMATS)}.
Hidden files, and thumbnails and trash such as @eaDir and $RECYCLE.BIN, are skipped.
OUTPUT gets the same tree. Errors do not stop the other photos and are listed at the end. Photos
keep their size, mode, ICC profile, EXIF and alpha. Videos are not supported."""

EXAMPLES = """examples:
  derefl remove window.jpg -o clean.jpg
  derefl remove a.jpg b.jpg -o cleaned/
  derefl remove photos/ -o cleaned/ --compare --device cuda
  derefl remove photos/ -o cleaned/ --resume           continue a stopped run
  derefl remove "photos/*.jpg" --suffix .clean         photos/a.clean.jpg next to photos/a.jpg
  derefl remove scans/ -o small/ --format webp --quality 80
  derefl remove photos/ -o cleaned/ --dry-run          list the outputs only
  derefl remove window.jpg -o clean.jpg --strength 0.7 --mask glass.png
  derefl remove photos/ -o cleaned/ --only-if 0.02     copy photos below this amount
  derefl remove - -o - < window.jpg > clean.jpg        in a pipe

exit status: 0 success, 1 a photo failed or the command was refused, 2 invalid options, 130 Ctrl-C
"""

PLANNING = ("exclude", "format", "reflection", "compare", "overwrite", "resume")
# fmt: off
WORKING = (
    "quality", "background", "keep_times", "strength", "only_if", "max_megapixels", "workers",
)
# fmt: on
ENDINGS = ("jpg", "png", "webp", "tif", "avif", "heic")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``remove``."""
    add = parser.add_argument
    add("inputs", metavar="INPUT", nargs="+", help="photo, folder, pattern, or - for stdin")
    add_exclude(parser)

    add = parser.add_argument_group("output").add_argument
    add(
        "-o",
        "--output",
        help="a folder; or for a single photo a file name such as clean.jpg; or - for stdout. "
        "Optional with --suffix",
    )
    add(
        "--suffix",
        metavar="TEXT",
        type=name_part,
        help="add TEXT to each name: with .clean, a.jpg becomes a.clean.jpg. Without --output, "
        "write next to each input; later runs ignore these outputs",
    )
    add("--format", choices=ENDINGS, help="default: the format of the input")
    add(
        "--quality",
        metavar="N",
        type=whole_number(1, 100),
        help="1 to 100, for JPEG, WebP, AVIF and HEIF (default: 95; AVIF and HEIF: 90)",
    )
    add(
        "--background",
        metavar="COLOUR",
        type=colour,
        help="the colour behind transparent photos if the format has no alpha, for example white "
        "or '#f0f0f0' (default: refuse such photos)",
    )
    add(
        "--strength",
        metavar="X",
        type=share,
        default=1.0,
        help="how much of the reflection is removed, 0 to 1 (default: 1)",
    )
    add(
        "--mask",
        metavar="PICTURE",
        type=Path,
        help="a picture of the size of the photo: change only where it is white",
    )
    add("--keep-times", action="store_true", help="keep the modification time of each photo")
    add(
        "--only-if",
        metavar="AMOUNT",
        type=share,
        default=0.0,
        help="copy photos with less reflection than AMOUNT, see 'derefl scan'",
    )
    add("--reflection", action="store_true", help="also write the removed layer: a.reflection.jpg")
    add(
        "--compare",
        action="store_true",
        help="also write a sheet with before, after and reflection: a.compare.png",
    )

    group = parser.add_argument_group("long runs and scripts")
    add, existing = group.add_argument, group.add_mutually_exclusive_group()
    add_overwrite(existing)
    existing.add_argument(
        "--resume",
        action="store_true",
        help="keep existing outputs, unless they are older than their input",
    )
    add("--dry-run", action="store_true", help="check everything and list the outputs only")
    add(
        "--json",
        action="store_true",
        help="print one JSON object: files with input, outputs, amount, seconds, status (written, "
        "copied, skipped, failed, pending) and error; totals",
    )
    add_workers(group)

    group = parser.add_argument_group("network")
    add_model(group, "derefl-base")
    add_device(group)
    add_max_megapixels(group)


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
        refuse(f"argument --quality: {args.format} is lossless; leave it out, or use --format jpg")
    if "-" not in (*args.inputs, args.output):
        return
    if len(args.inputs) > 1:
        refuse("argument INPUT: a pipe takes a single photo; give one INPUT")
    if args.output != "-" and (
        not is_picture_name(Path(args.output)) or os.path.isdir(args.output)  # noqa: PTH112
    ):
        refuse("argument -o/--output: with stdin as INPUT, expected a picture file or -")
    files_only = ["suffix", "resume", "dry_run", "keep_times"]
    if args.output == "-":
        files_only += ["json", "reflection", "compare"]
    for name in files_only:
        if getattr(args, name):
            refuse(f"argument --{name.replace('_', '-')}: not allowed with -; use file names")


def run(args: argparse.Namespace) -> int:
    """Process files, or pipes as temporary files."""
    refuse_usage(args)
    if "-" not in (*args.inputs, args.output):
        output = None if args.output is None else Path(args.output)
        return remove(args, [Path(name) for name in args.inputs], output)
    refuse_terminal(args.inputs[0], args.output)
    with TemporaryDirectory(prefix="derefl-") as name:
        folder, to_stdout = Path(name), args.output == "-"
        hide = f"{folder}{os.sep}"  # the temporary path means nothing to the user
        try:
            source = receive(folder) if args.inputs[0] == "-" else Path(args.inputs[0])
            output = Path(args.output)
            if to_stdout:
                ending = f".{args.format}" if args.format else ending_of(source)
                output = folder / f"standard output{ending}"
            status = remove(args, [source], output, hide)
        except DereflError as error:
            raise DereflError(str(error).replace(hide, "")) from error
        if status == 0 and to_stdout:
            deliver(output)
        return status


def remove(
    args: argparse.Namespace, inputs: list[Path], output: Path | None, hide: str = ""
) -> int:
    """Check everything, process the pictures and print a report; the exit status.

    Args:
        hide: for pipes, a text to remove from the messages.
    """
    passed_over: set[Path] = set()
    options = {name: getattr(args, name) for name in PLANNING}
    options |= {"suffix": args.suffix or "", "passed_over": passed_over.add}
    results = plan_folder(inputs, output, **options)
    seconds, interrupted = 0.0, False
    if not args.dry_run and any(result.status == "pending" for result in results):
        seconds, interrupted = process(args, results)
    pictures = [r for r in results if r.due or r.status == "skipped"]  # without closed folders
    failures = [result.error for result in results if result.error]
    where = "next to their inputs" if output is None else f"to {output}"
    if args.json:
        report = json.dumps(as_json(results, passed_over, seconds), indent=2)
        print(*report.replace(hide, "").splitlines(), sep="\n")
    elif args.dry_run:
        *lines, total = outline(pictures, where)
        print(*lines, total + passed_over_note(passed_over), sep="\n")
    elif not (hide or interrupted) and (len(pictures) > 1 or not failures):
        print(summary(pictures, where) + passed_over_note(passed_over))
    warnings = [
        f"warning: {result.source} was written without {', '.join(result.left_out)}"
        for result in results
        if result.left_out
    ]
    for line in (*warnings, *failures):
        print_error(line.replace(hide, ""))
    if interrupted:
        done = sum(picture.status in ("written", "copied", "skipped") for picture in pictures)
        progress = f"; {done} of {len(pictures)} pictures are finished" if len(pictures) > 1 else ""
        advice = ". To continue, repeat the command with --resume"
        advice = advice if progress and not args.overwrite else ""
        return print_error(f"interrupted{progress}{advice}", 130)
    return 1 if failures else 0


def process(args: argparse.Namespace, results: list[Result]) -> tuple[float, bool]:
    """Process the pictures; the seconds without loading the model, and whether Ctrl-C came."""
    from derefl.reflection.remover import load_derefl  # after the checks: torch takes seconds

    options = {name: getattr(args, name) for name in WORKING}
    options["overwrite"] = args.overwrite or args.resume
    options["mask"] = args.mask and open_picture(args.mask)
    model = load_derefl(args.model, device=args.device)
    start = time.perf_counter()
    interrupted = finish(dereflect_planned(model, results, **options), len(results), args.json)
    return time.perf_counter() - start, interrupted


def finish(work: Generator[Result, None, None], total: int, quiet: bool) -> bool:
    """Process all pictures behind a progress bar; whether Ctrl-C came."""
    bar = tqdm(
        work,
        total=total,
        unit=" pictures",
        bar_format="{n_fmt}/{total_fmt} |{bar}| {elapsed} gone, {remaining} left, {rate_noinv_fmt}",
        disable=quiet or total == 1 or not sys.stderr.isatty(),
    )
    with closing(work), bar:
        try:
            for _ in bar:
                pass
        except KeyboardInterrupt:
            return True
    return False
