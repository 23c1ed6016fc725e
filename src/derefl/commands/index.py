"""``derefl index``: photos in, a file of their codes out, for ``derefl search``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from derefl.errors import ConfigError, HashIndexError, ImageError, OutputExistsError
from derefl.hashing.codes import BITS
from derefl.imaging.files import FORMATS
from derefl.imaging.folders import find_pictures

if TYPE_CHECKING:
    from derefl.hashing.codes import Codes
    from derefl.hashing.hasher import Hasher
    from derefl.hashing.index import HashIndex

DESCRIPTION = f"""Make photos searchable by words and by pictures.

Folders are searched for pictures ({" ".join(FORMATS)}), their subfolders too;
hidden files and folders are passed over. A picture that cannot be read is reported at the end, the
others are indexed all the same; the exit status is then 1.
Pictures below the folder of INDEX are named by their path from there, so that both can be moved
together; others are named by their absolute path."""

EXAMPLES = """examples:
  derefl index photos/ -o photos.lcdh
  derefl index photos/ -o photos.lcdh --update    after photos were added, changed or deleted
  derefl search photos.lcdh "a dog on a beach"
"""

MODEL, LENGTH = "lcdh-student", 64
BATCH = 16
"""Pictures encoded in one go."""


def add_parser(subparsers: Any) -> None:
    """Add ``index`` and its options."""
    parser = subparsers.add_parser(
        "index",
        help="make photos or folders of photos searchable",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="a name listed by 'derefl models', a .safetensors file, a folder or a Hub repo id "
        f"(default: {MODEL}, with --update that of INDEX)",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda", "mps"), default="cpu", help="default: %(default)s"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--update",
        action="store_true",
        help="bring INDEX up to date: encode only photos that are new or whose size or time of "
        "change differs, drop those that are gone from PHOTOS, keep what lies elsewhere",
    )
    how.add_argument("--overwrite", action="store_true", help="replace INDEX if it is there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked, load the model, encode, and write the index."""
    output: Path = args.output
    if output.is_dir():
        raise HashIndexError(f"{output} is a folder, expected a file; write {output / 'it.lcdh'}")
    if output.exists() and not (args.update or args.overwrite):
        raise OutputExistsError(
            f"{output} is there already; add --update to bring it up to date, --overwrite to "
            "replace it, or choose another name"
        )
    paths = {photo_id(path, output): path for path, _ in find_pictures(args.inputs)}
    index, hasher = prepare(args)
    failures = update(index, hasher, paths, gone(index, paths, args.inputs, output))
    index.save(output)
    for failure in failures:
        print(f"derefl: {' '.join(str(failure).splitlines())}", file=sys.stderr)
    return 1 if failures else 0


def prepare(args: argparse.Namespace) -> "tuple[HashIndex, Hasher]":
    """The index to bring up to date, or an empty one, and the model that fits it.

    Raises:
        ConfigError: the index has codes of another length than asked for.
        HashIndexError: it is damaged, or of another model than asked for.
    """
    from derefl.hashing.hasher import load_lcdh_student  # torch takes seconds
    from derefl.hashing.index import HashIndex

    if not (args.update and args.output.exists()):
        model = args.model or MODEL
        hasher = load_lcdh_student(model, bits=args.bits or LENGTH, device=args.device)
        return HashIndex(hasher.bits, lasting_name(model), hasher.sha256), hasher
    index = HashIndex.load(args.output, verify=True)
    if args.bits not in (None, index.bits):
        raise ConfigError(
            f"{args.output} has codes of {index.bits} bits, got --bits {args.bits}; leave --bits "
            "out, or build the index anew with --overwrite"
        )
    model = args.model or index.model or MODEL
    hasher = load_lcdh_student(model, bits=index.bits, device=args.device)
    index.require(hasher)
    return index, hasher


def gone(index: "HashIndex", paths: dict[str, Path], inputs: list[Path], output: Path) -> list[str]:
    """The ids in the index that belong to the inputs, but of which no picture was found there."""
    base, places = absolute(output).parent, [absolute(path) for path in inputs]
    return [
        id
        for id in index.ids
        if isinstance(id, str)
        and id not in paths
        and any((base / id).is_relative_to(place) for place in places)
    ]


def update(
    index: "HashIndex", hasher: "Hasher", paths: dict[str, Path], drop: list[str]
) -> list[ImageError]:
    """Encode the pictures that are new or changed, and print how many.

    Args:
        index: its ``extra["files"]`` has size and time of change of each file when it was encoded.
        paths: id to picture.
        drop: ids in the index that are to go.

    Returns:
        What could not be read; it is not in the index.
    """
    before = index.extra.get("files", {})
    stamps = {id: stamp(path) for id, path in paths.items()}
    due = [id for id in paths if stamps[id] != before.get(id) or id not in index]
    codes: dict[str, Codes] = {}
    failures: list[ImageError] = []
    with tqdm(total=len(due), unit="picture") as progress:
        for start in range(0, len(due), BATCH):
            batch = due[start : start + BATCH]
            for id, code in zip(batch, encode(hasher, [paths[id] for id in batch]), strict=True):
                if isinstance(code, ImageError):
                    failures.append(code)
                else:
                    codes[id] = code
            progress.update(len(batch))

    stale = [id for id in due if id in index and id not in codes]
    index.remove(drop + stale)
    if codes:
        import numpy as np

        index.upsert(np.stack(list(codes.values())), codes)
    known = before | stamps
    index.extra = {"files": {id: known[id] for id in map(str, index.ids) if id in known}}
    print(
        f"{len(index)} pictures in the index: {len(codes)} encoded, {len(paths) - len(due)} as "
        f"before, {len(drop)} dropped, {len(failures)} failed"
    )
    return failures


def encode(hasher: "Hasher", paths: list[Path]) -> "list[Codes | ImageError]":
    """A code for each picture, or why there is none; one bad picture does not spoil the others."""
    try:
        return list(hasher.encode_image(paths))
    except ImageError as error:
        if len(paths) == 1:
            return [error]
        return [result for path in paths for result in encode(hasher, [path])]


def stamp(path: Path) -> list[int]:
    """What changes when a file does: size in bytes, time of change in ns; nothing if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def absolute(path: Path) -> Path:
    """The path without links and dots in its folders; a picture that is a link stays one."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def photo_id(path: Path, index: Path) -> str:
    """A picture's id: its path from the folder of the index if it lies below, else absolute."""
    full, base = absolute(path), absolute(index).parent
    return (full.relative_to(base) if full.is_relative_to(base) else full).as_posix()


def photo_path(id: int | str, index: Path) -> Path:
    """The picture of an id, as a path from the working folder if it lies below, else absolute."""
    path, here = absolute(index).parent / str(id), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def lasting_name(model: str) -> str:
    """What ``derefl search`` finds the model by, from whichever folder it is called."""
    from derefl.zoo import list_models

    is_name = model in {entry.name for entry in list_models()}
    return model if is_name or not Path(model).exists() else str(absolute(Path(model)))
