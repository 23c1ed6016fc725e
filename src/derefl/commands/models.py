"""``derefl models``: the list of models."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from derefl.zoo import ModelEntry

HELP = "list the models"

DESCRIPTION = """List the models with their kind, size, place of the weights (bundled: works
offline), licence and scores."""

HEADER = ("name", "kind", "parameters", "size", "where", "licence")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def run(args: argparse.Namespace) -> int:
    """Print the manifest as a table."""
    from derefl.zoo import list_models

    entries = list_models()
    rows = [HEADER, *map(row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    scores = [[], *(list(map(score_line, entry.scores)) or ["not measured"] for entry in entries)]
    for cells, measured in zip(rows, scores, strict=True):
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print("  ".join(padded).rstrip())
        for line in measured:
            print(f"    {line}")
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
    )


WAYS = {"text_to_image": "text→image", "image_to_text": "image→text"}


def score_line(measured: dict[str, Any]) -> str:
    """One measurement as a line: ``real20, 20 pictures, resize32: 22.09 dB, SSIM 0.785``."""
    metrics = [f"{measured[k]:.2f} dB" for k in ("psnr",) if k in measured]
    metrics += [f"SSIM {measured[k]:.3f}" for k in ("ssim",) if k in measured]
    if "input_psnr" in measured:
        metrics.append(f"input {measured['input_psnr']:.2f} dB")
    metrics += [
        f"{name} R@10 {measured[f'{way}_r@10']:.1f} %"
        for way, name in WAYS.items()
        if f"{way}_r@10" in measured
    ]
    what = f"{measured['dataset']}, {measured['n']} pictures, {measured['protocol']}"
    return f"{what}: {', '.join(metrics)}"
