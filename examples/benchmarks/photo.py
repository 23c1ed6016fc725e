"""Time and memory of ``model.dereflect`` on a photo of noise, from picture to picture.

The first run is a warm-up for the time. The memory after the first and after the last run shows
whether a long run needs more and more: ``--size 240 320 --runs 500``.
"""

import argparse
import json
import time

import torch
from PIL import Image

from derefl import load_derefl
from derefl.commands.bench import table
from derefl.commands.options import whole_number
from derefl.training.log import peak_memory_mb


def parser():
    """The options."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--model", metavar="NAME", default="derefl-base")
    result.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(3000, 4000))
    result.add_argument("--runs", type=whole_number(1), default=3, help="at least 2")
    result.add_argument("--threads", type=whole_number(1), default=2)
    result.add_argument("--device", default="cpu")
    result.add_argument("--json", action="store_true")
    return result


def noise(width, height):
    """A picture of coloured noise, made without large arrays."""
    channels = [Image.effect_noise((64, 64), 90).resize((width, height)) for _ in range(3)]
    return Image.merge("RGB", channels)


def main(arguments=None):
    """Measure and print."""
    args = parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    model = load_derefl(args.model, device=args.device)
    height, width = args.size
    photo = noise(width, height)
    memory, seconds = [peak_memory_mb()], []
    for _ in range(max(args.runs, 2)):
        start = time.perf_counter()
        model.dereflect(photo)
        seconds.append(time.perf_counter() - start)
        memory.append(peak_memory_mb())
    report = {
        "model": args.model,
        "height": height,
        "width": width,
        "threads": args.threads,
        "seconds": sorted(seconds[1:])[len(seconds) // 2 - 1],
        "MB before": memory[0],
        "MB after the first": memory[1],
        "MB after the last": memory[-1],
    }
    print(*([json.dumps(report)] if args.json else table([report])), sep="\n")


if __name__ == "__main__":
    main()
