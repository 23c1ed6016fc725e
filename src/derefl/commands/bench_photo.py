"""``derefl bench photo`` and ``soak``: from a PIL picture to a PIL picture, as users do it."""

import argparse
import json
import math
import time
from typing import TYPE_CHECKING, Any

from derefl.errors import ConfigError
from derefl.memory import peak_memory_mb

if TYPE_CHECKING:
    from PIL import Image


def add_parsers(subparsers: Any) -> None:
    """Add ``photo`` and ``soak`` and their options."""
    photo = subparsers.add_parser(
        "photo",
        help="time and memory of one photo, from picture to picture",
        description="Time model.dereflect on one photo of noise: the median of the runs, after a "
        "warm-up on a small one. Peak memory is the whole process's, the interpreter, torch and "
        "the photo included.",
    )
    photo.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), default=(3000, 4000), help="in pixels"
    )
    photo.add_argument("--detail", choices=("auto", "full"), default="auto")
    photo.add_argument("--runs", type=int, default=3, help="default: %(default)s")
    photo.set_defaults(run=run_photo)

    soak = subparsers.add_parser(
        "soak",
        help="memory over many photos",
        description="Dereflect many small photos of five sizes, one after the other, and print "
        "the most memory that the process has held after each tenth of them.",
    )
    soak.add_argument("--photos", type=int, default=500, help="default: %(default)s")
    soak.set_defaults(run=run_soak)

    for parser in (photo, soak):
        parser.add_argument("--model", metavar="NAME", default="derefl-small")
        parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
        parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
        parser.add_argument("--json", action="store_true", help="print one JSON object only")


def run_photo(args: argparse.Namespace) -> int:
    """Measure one photo and print."""
    if min(*args.size, args.runs, args.threads) < 1:
        raise ConfigError("expected --size, --runs and --threads of at least 1")
    import torch

    from derefl.reflection.pipeline import load_derefl

    torch.set_num_threads(args.threads)
    height, width = args.size
    model = load_derefl(args.model, device=args.device)
    model.dereflect(noise(256, 256))
    before, image = peak_memory_mb() or math.nan, noise(width, height)
    seconds = []
    for _ in range(args.runs):
        start = time.perf_counter()
        model.dereflect(image, detail=args.detail)
        seconds.append(time.perf_counter() - start)
    report = {
        "model": args.model,
        "device": args.device,
        "threads": args.threads,
        "width": width,
        "height": height,
        "detail": args.detail,
        "seconds": sorted(seconds)[args.runs // 2],
        "peak_memory_mb": peak_memory_mb() or math.nan,
        "memory_before_mb": before,
    }
    if args.json:
        print(json.dumps(report))
    else:
        print(
            "{model}: {seconds:.2f} s a photo of {width}×{height} with detail={detail} on {device} "
            "with {threads} threads, peak memory {peak_memory_mb:.0f} MB ({memory_before_mb:.0f} "
            "MB before the photo)".format(**report)
        )
    return 0


def run_soak(args: argparse.Namespace) -> int:
    """Measure many photos and print the curve."""
    if args.photos < 10 or args.threads < 1:
        raise ConfigError("expected --photos of at least 10 and --threads of at least 1")
    import torch

    from derefl.reflection.pipeline import load_derefl

    torch.set_num_threads(args.threads)
    model = load_derefl(args.model, device=args.device)
    curve: list[dict[str, float]] = []
    for number in range(1, args.photos + 1):
        step = number % 5
        model.dereflect(noise(160 + 40 * step, 240 - 20 * step))
        if number * 10 // args.photos > len(curve):
            curve.append({"photos": number, "peak_memory_mb": peak_memory_mb() or math.nan})
            if not args.json:
                print("{photos:6} photos: {peak_memory_mb:.0f} MB".format(**curve[-1]), flush=True)
    if args.json:
        print(json.dumps({"model": args.model, "threads": args.threads, "curve": curve}))
    return 0


def noise(width: int, height: int) -> "Image.Image":
    """A picture of coloured noise, made without large arrays."""
    from PIL import Image

    channels = [Image.effect_noise((64, 64), 90).resize((width, height)) for _ in range(3)]
    return Image.merge("RGB", channels)
