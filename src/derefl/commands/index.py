"""``derefl index``: write a file with the codes of photos, for ``derefl search``."""

import argparse
from pathlib import Path

from derefl.allocator import keep_freed_memory
from derefl.commands.options import add_device, add_exclude, add_model, add_overwrite
from derefl.commands.output import print_error
from derefl.hashing.codes import BITS
from derefl.hashing.index.base import MODEL
from derefl.hashing.index.folder import LENGTH, FolderIndex
from derefl.imaging.folders import passed_over_note
from derefl.imaging.formats import FORMATS

HELP = "make photos or folders of photos searchable"

DESCRIPTION = f"""Make photos searchable by words and by pictures.

Folders and their subfolders are searched for pictures ({" ".join(FORMATS)}).
Hidden files, and thumbnails and trash such as @eaDir and $RECYCLE.BIN, are skipped.
A picture that cannot be read is reported at the end; the other pictures are indexed, and the exit
status is 1.
Files are decoded on several threads.
INDEX is saved after each batch. After Ctrl-C, run the same command again to continue.
Pictures in the folder of INDEX are stored with relative paths, so that you can move both together.
Other pictures are stored with absolute paths."""

EXAMPLES = """examples:
  derefl index photos/ -o photos.lcdh
  derefl index photos/ -o photos.lcdh --update    after photos were added, changed or deleted
  derefl search photos.lcdh "a dog on a beach"
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``index``."""
    parser.add_argument("inputs", metavar="PHOTOS", nargs="+", type=Path, help="photo or folder")
    add_exclude(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="INDEX",
        required=True,
        type=Path,
        help="the file to write, usually NAME.lcdh",
    )
    parser.add_argument(
        "--bits",
        type=int,
        choices=BITS,
        help="code length in bits; longer codes find better matches "
        f"(default: {LENGTH}, or with --update the length in INDEX)",
    )
    add_model(parser, None, f" (default: {MODEL}, or with --update the model of INDEX)")
    add_device(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--update",
        action="store_true",
        help="update INDEX: encode only photos that are new or have another size or time of "
        "change, and drop deleted photos; photos outside PHOTOS stay in INDEX",
    )
    add_overwrite(how)


def run(args: argparse.Namespace) -> int:
    """Make or update the index, and print what was done."""
    keep_freed_memory()
    names = ("exclude", "bits", "model", "device", "update", "overwrite")
    options = {name: getattr(args, name) for name in names}
    folder = FolderIndex(args.inputs, args.output, **options)
    try:
        result = folder.run(progress=True)
    except KeyboardInterrupt:
        return print_error(
            f"interrupted; {len(folder.index)} pictures are in {folder.target}; run the same "
            "command again to continue",
            130,
        )
    failures = [*folder.failures, *result.failures]
    print(
        f"{len(folder.index)} pictures in the index: {result.encoded} encoded, {result.as_before} "
        f"as before, {len(folder.drop)} dropped, {len(result.failures)} failed"
        f"{passed_over_note(folder.passed_over)}"
    )
    for failure in failures:
        print_error(str(failure))
    return 1 if failures else 0
