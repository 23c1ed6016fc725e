"""``derefl index``: write a file with the codes of photos, for ``derefl search``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from derefl.commands.options import add_device, add_model, add_overwrite
from derefl.errors import ConfigError, HashIndexError, OutputExistsError
from derefl.files import check_output
from derefl.hashing.codes import BITS
from derefl.hashing.index.database import replace
from derefl.hashing.index.folder import (
    MODEL,
    absolute,
    missing,
    model_of,
    photo_id,
    unsearchable,
    update,
)
from derefl.imaging.folders import find_pictures, passed_over_note
from derefl.imaging.formats import FORMATS

if TYPE_CHECKING:
    from derefl.hashing.hasher import Hasher
    from derefl.hashing.index.hash_index import HashIndex

DESCRIPTION = f"""Make photos searchable by words and by pictures.

Folders are searched for pictures ({" ".join(FORMATS)}), their subfolders too;
hidden files and folders are passed over. A picture that cannot be read is reported at the end, the
others are indexed all the same; the exit status is then 1.
INDEX is saved as it grows. After Ctrl-C the same command goes on.
Pictures below the folder of INDEX are named by their path from there, so that both can be moved
together; others are named by their absolute path."""

EXAMPLES = """examples:
  derefl index photos/ -o photos.lcdh
  derefl index photos/ -o photos.lcdh --update    after photos were added, changed or deleted
  derefl search photos.lcdh "a dog on a beach"
"""

LENGTH = 64

UNFINISHED = "unfinished"
"""The key in ``extra`` of an unfinished index."""


def add_parser(subparsers: Any) -> None:
    """Add ``index`` and its options."""
    parser = subparsers.add_parser(
        "index",
        help="make photos or folders of photos searchable",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument("inputs", metavar="PHOTOS", nargs="+", type=Path, help="photo or folder")
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
        help=f"length of a picture's code: longer finds better (default: {LENGTH}, with --update "
        "that of INDEX)",
    )
    add_model(parser, None, f" (default: {MODEL}, with --update that of INDEX)")
    add_device(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--update",
        action="store_true",
        help="bring INDEX up to date: encode only photos that are new or whose size or time of "
        "change differs, drop those that are gone from PHOTOS, keep what lies elsewhere",
    )
    add_overwrite(how)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do all checks first, then load the model, encode, and save batch by batch."""
    output: Path = args.output
    check_output(output, overwrite=True)
    target, index = target_and_index(args)
    home = absolute(output).parent
    closed: list[OSError] = []
    others: set[Path] = set()
    found = find_pictures(args.inputs, unreadable=closed.append, passed_over=others.add)
    paths = {photo_id(path, home): path for path, _ in found}
    index, hasher = prepare(args, index)
    folders = [Path(error.filename) for error in closed]
    drop, unknown = missing(index, paths, args.inputs, home, folders)
    failures = [*map(unsearchable, folders, closed), *unknown]
    try:
        with tqdm(unit="picture") as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            index.extra[UNFINISHED] = True
            index.save(target)  # a failure is reported before the work
            result = update(index, hasher, paths, drop, show, lambda: index.save(target))
        del index.extra[UNFINISHED]
        index.save(target)
        if target != output:
            replace(target, output)
    except KeyboardInterrupt:
        print(
            f"derefl: interrupted; {len(index)} pictures are in {target}, the same command goes on",
            file=sys.stderr,
        )
        return 130
    print(
        f"{len(index)} pictures in the index: {result.encoded} encoded, {result.as_before} as "
        f"before, {result.dropped} dropped, {len(result.failures)} failed{passed_over_note(others)}"
    )
    for failure in failures + result.failures:
        print(f"derefl: {' '.join(str(failure).splitlines())}", file=sys.stderr)
    return 1 if failures or result.failures else 0


def target_and_index(args: argparse.Namespace) -> "tuple[Path, HashIndex | None]":
    """The output file, and the index to continue, if there is one.

    A finished index is only replaced when the new index is finished. Until then the new index is in
    a second file beside it.

    Raises:
        OutputExistsError: the file exists and must not be changed.
        HashIndexError: the index to update is damaged.
    """
    from derefl.hashing.index.hash_index import HashIndex

    output: Path = args.output
    if args.update and output.exists():
        return output, HashIndex.load(output, verify=True)
    target, index = output, unfinished(output)
    if index is None and output.exists():
        if not args.overwrite:
            raise OutputExistsError(
                f"{output} is there already; add --update to bring it up to date, --overwrite to "
                "replace it, or choose another name"
            )
        target = output.with_name(f"{output.name}.part")
        index = unfinished(target)
    asked = (args.bits or LENGTH, portable_name(args.model or MODEL))
    if index is not None and args.overwrite and (index.bits, index.model) != asked:
        index = None
    return target, index


def unfinished(path: Path) -> "HashIndex | None":
    """The index of an interrupted command in a file."""
    from derefl.hashing.index.hash_index import HashIndex

    try:
        index = HashIndex.load(path, verify=True)
    except HashIndexError:
        return None
    return index if UNFINISHED in index.extra else None


def prepare(args: argparse.Namespace, index: "HashIndex | None") -> "tuple[HashIndex, Hasher]":
    """The index to continue, or an empty one, and the model that fits it.

    Raises:
        ConfigError: the index has another code length than requested.
        HashIndexError: the index is of another model than requested.
    """
    from derefl.hashing.hasher import load_lcdh_student  # importing torch takes seconds
    from derefl.hashing.index.hash_index import HashIndex

    if index is None:
        model = args.model or MODEL
        hasher = load_lcdh_student(model, bits=args.bits or LENGTH, device=args.device)
        return HashIndex(hasher.bits, portable_name(model), hasher.sha256), hasher
    if args.bits not in (None, index.bits):
        raise ConfigError(
            f"{args.output} has codes of {index.bits} bits, got --bits {args.bits}; leave --bits "
            "out, or make the index again with --overwrite"
        )
    model = args.model or model_of(index.model)
    hasher = load_lcdh_student(model, bits=index.bits, device=args.device)
    index.require(hasher)
    return index, hasher


def portable_name(model: str) -> str:
    """A model name with which ``derefl search`` finds the model from any folder."""
    from derefl.zoo import list_models

    is_name = model in {entry.name for entry in list_models()}
    return model if is_name or not Path(model).exists() else str(absolute(Path(model)))
