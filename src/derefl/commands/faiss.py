"""``derefl faiss``: conversion of an index to a FAISS file and back."""

import argparse
from pathlib import Path

from derefl.commands.options import add_overwrite
from derefl.files import check_output
from derefl.hashing.index.faiss import KINDS, export_faiss, import_faiss_file, side_file
from derefl.hashing.index.hash_index import HashIndex

HELP = "convert an index to a FAISS file, or back"

DESCRIPTION = """Convert an index to a binary index of FAISS, or back.

FAISS cannot store the model, and ids that are not integers. They are in a second file, NAME.json.
FAISS files without this file can be read, too."""

EXAMPLES = """examples:
  derefl faiss export photos.lcdh photos.faiss --kind hnsw
  derefl faiss import photos.faiss photos.lcdh
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``faiss``."""
    ways = parser.add_subparsers(title="ways", metavar="WAY", required=True)
    export = ways.add_parser("export", help="from an index to FAISS")
    export.add_argument("input", metavar="INDEX", type=Path, help="a file of 'derefl index'")
    export.add_argument("output", metavar="OUT", type=Path, help="the FAISS file to write")
    export.add_argument(
        "--kind",
        choices=KINDS,
        default="flat",
        help="flat is exact; ivf and hnsw are faster and miss some photos (default: %(default)s)",
    )
    export.add_argument(
        "--lists",
        type=int,
        help="number of lists of ivf (default: the square root of the number of codes)",
    )
    export.add_argument(
        "--links", type=int, default=16, help="links per code of hnsw (default: %(default)s)"
    )
    export.set_defaults(run=run_export)
    read = ways.add_parser("import", help="from FAISS to an index")
    read.add_argument("input", metavar="IN", type=Path, help="a binary index of FAISS")
    read.add_argument("output", metavar="INDEX", type=Path, help="the file to write")
    read.set_defaults(run=run_import)
    for way in (export, read):
        add_overwrite(way)


def run_export(args: argparse.Namespace) -> int:
    """Load the index and write the FAISS file."""
    for path in (args.output, side_file(args.output)):
        check_output(path, args.overwrite)
    index = HashIndex.load(args.input)
    export_faiss(index, args.output, args.kind, lists=args.lists, links=args.links)
    ids = "row numbers" if index.integer_ids is None else "as in the index"
    print(f"{len(index)} codes of {index.bits} bits in {args.output}, kind {args.kind}; ids: {ids}")
    print(f"model and ids: {side_file(args.output)}")
    return 0


def run_import(args: argparse.Namespace) -> int:
    """Read the FAISS file and write the index."""
    check_output(args.output, args.overwrite)
    index = import_faiss_file(args.input)
    index.save(args.output)
    print(f"{len(index)} codes of {index.bits} bits in {args.output}, model {index.model!r}")
    return 0
