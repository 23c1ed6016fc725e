"""Put a trained checkpoint into the wheel: ``python examples/tools/bundle.py FILE NAME``.

For maintainers, in an editable install: copy the file to ``src/derefl/weights/`` and write the
facts of the file into its entry of the manifest. Training, scores and licence of an old entry
are removed, because they belong to other weights: write the new ones by hand.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec
from safetensors import safe_open

from derefl.files import write_file
from derefl.zoo.checkpoint import file_sha256
from derefl.zoo.header import read_header
from derefl.zoo.manifest import (
    ModelEntry,
    Where,
    manifest_file,
    package_folder,
    read_manifest,
    write_manifest,
)

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of batch-norm buffers, which are not parameters."""


def bundle(checkpoint: Path, name: str) -> ModelEntry:
    """Copy the weights, replace or add the entry ``name``, and return it.

    Raises:
        CheckpointError: the file is not a checkpoint of derefl.
    """
    header = read_header(checkpoint)
    dtype, parameters = contents(checkpoint)
    target = package_folder() / "weights" / f"{name}.safetensors"
    write_file(target, checkpoint.read_bytes())
    entry = ModelEntry(
        name=name,
        kind=header["kind"],
        config=header["config"],
        file=target.name,
        bytes=target.stat().st_size,
        sha256=file_sha256(target),
        dtype=dtype,
        parameters=parameters,
        where=Where(bundled=f"weights/{target.name}", hub=None),
        licence="not stated",
        training={},
        scores=[],
    )
    manifest = read_manifest(manifest_file())
    entries = {other.name: other for other in manifest.models}
    entries[name] = entry  # in the old place, if there is an old entry
    models = list(entries.values())
    write_manifest(manifest_file(), msgspec.structs.replace(manifest, models=models))
    return entry


def contents(checkpoint: Path) -> tuple[str, int]:
    """The dtype of a file's floating-point tensors and its number of parameters."""
    dtypes: set[str] = set()
    parameters = 0
    with safe_open(checkpoint, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 (safe_open is no mapping)
            tensor = file.get_tensor(key)
            if tensor.is_floating_point():
                dtypes.add(str(tensor.dtype).removeprefix("torch."))
            if not key.endswith(STATISTICS):
                parameters += tensor.numel()
    (dtype,) = dtypes
    return dtype, parameters


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", metavar="FILE", type=Path)
    parser.add_argument("name", metavar="NAME")
    args = parser.parse_args(argv)
    bundle(args.checkpoint, args.name)


if __name__ == "__main__":
    main()
