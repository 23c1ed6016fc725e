"""``derefl export``: a model as ONNX."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from derefl.commands.options import MODEL_HELP, add_overwrite
from derefl.errors import ConfigError
from derefl.files import check_output, write_file

if TYPE_CHECKING:
    from derefl.zoo.export import Export

HELP = "write a model as ONNX (needs derefl[onnx])"

DESCRIPTION = """Write a model as ONNX, for any batch size and, for reflections, any picture size.

Before a graph is written, its results in onnxruntime are compared with torch, for several sizes and
batches. A model for reflections becomes FILE.onnx. A model for search becomes FILE-image.onnx,
FILE-text.onnx and FILE-tokenizer.json. docs/export.md explains how to use them."""

EXAMPLES = """examples:
  derefl export derefl-base -o derefl-base.onnx
  derefl export lcdh-student -o lcdh-student.onnx
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``export``."""
    parser.add_argument("model", metavar="NAME", help=MODEL_HELP)
    parser.add_argument("-o", "--output", metavar="FILE.onnx", type=Path, required=True)
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Export, compare, write, and print the difference of the outputs."""
    output: Path = args.output
    if output.suffix != ".onnx":
        raise ConfigError(f"got -o {output}, expected a name that ends in .onnx")
    check_output(output, overwrite=True)
    from derefl.zoo.export import to_onnx

    export, metadata = exported(args.model)
    suffixes = [graph.suffix + ".onnx" for graph in export.graphs] + [*export.texts]
    for suffix in suffixes:
        check_output(beside(output, suffix), args.overwrite)
    files = {suffix: text.encode() for suffix, text in export.texts.items()}
    said = dict.fromkeys(files, "for the package tokenizers")
    for graph in export.graphs:
        data, difference = to_onnx(graph, metadata)
        files[graph.suffix + ".onnx"] = data
        said[graph.suffix + ".onnx"] = (
            f"{len(data) / 1e6:.1f} MB; differs from torch by at most {difference:.1g} on "
            f"{len(graph.samples)} inputs of several sizes and batches"
        )
    for suffix, content in files.items():
        write_file(beside(output, suffix), content)
        print(f"{beside(output, suffix)}: {said[suffix]}")
    return 0


def beside(output: Path, suffix: str) -> Path:
    """``a/b.onnx`` and ``-image.onnx`` to ``a/b-image.onnx``."""
    return output.with_name(output.stem + suffix)


def exported(source: str) -> "tuple[Export, dict[str, str]]":
    """The exported graphs of a model, and the metadata of their files."""
    from derefl import __version__, load_derefl, load_lcdh_student
    from derefl.hashing import export as hashing
    from derefl.reflection import export as reflection
    from derefl.zoo import file_sha256, locate, read_header

    found = locate(source)
    header = read_header(found.weights, found.config_file)
    if header["kind"] == "derefl":
        export = reflection.graphs(load_derefl(source).network)
    elif header["kind"] == "lcdh-student":
        export = hashing.graphs(load_lcdh_student(source, bits=16))
    else:
        raise ConfigError(
            f"{source} is a model of kind {header['kind']!r}, expected 'derefl' or 'lcdh-student'; "
            "a teacher needs an encoder that the file does not contain: export its student"
        )
    metadata = {
        "name": found.entry.name if found.entry else source,
        "kind": header["kind"],
        "config": json.dumps(header["config"]),
        "sha256": file_sha256(found.weights),
        "licence": found.entry.licence
        if found.entry
        else "not known: ask the author of the weights",
        "derefl": __version__,
    }
    return export, metadata
