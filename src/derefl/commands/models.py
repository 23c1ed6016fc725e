"""``derefl models``: the models there are."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from derefl.zoo import ModelEntry

HEADER = ("name", "kind", "parameters", "size", "where", "licence", "scores")


def add_parser(subparsers: Any) -> None:
    """Add ``models``, which has no options."""
    parser = subparsers.add_parser(
        "models",
        help="list the models",
        description="List the models: what each is for, how large it is, where its weights lie "
        "(bundled: works offline) and how well it did.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the manifest as a table."""
    from derefl.zoo import list_models

    rows = [HEADER, *map(row, list_models())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print("  ".join(padded).rstrip())
    return 0


def row(entry: "ModelEntry") -> tuple[str, ...]:
    """One model, in the order of :data:`HEADER`."""
    if entry.where.bundled:
        where = "bundled"
    elif entry.where.hub:
        where = entry.where.hub.repo
    else:
        where = "unpublished"
    return (
        entry.name,
        entry.kind,
        f"{entry.parameters / 1e6:.1f} M",
        f"{entry.bytes / 1e6:.1f} MB",
        where,
        entry.licence,
        ", ".join(map(score, entry.scores)) or "not measured",
    )


def score(measured: dict[str, Any]) -> str:
    """A measurement in short: ``real20 23.46 dB SSIM 0.805``."""
    text = measured["dataset"]
    if "psnr" in measured:
        text += f" {measured['psnr']:.2f} dB"
    if "ssim" in measured:
        text += f" SSIM {measured['ssim']:.3f}"
    return text
