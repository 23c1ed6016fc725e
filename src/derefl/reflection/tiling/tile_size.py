"""Tile sizes that fit into memory."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from derefl.errors import ImageError, is_out_of_memory

LARGEST_SIDE, SMALLEST_SIDE = 1280, 768
"""Sides of a square tile in pixels, multiples of 256. The large tile needs 0.9 GB."""

BYTES = 22
"""Memory for one pass over a picture, in bytes per pixel and per channel of the finest stream;
measured with ``derefl-base`` in float32."""

R = TypeVar("R")


def tile_side(device: torch.device, channels: int) -> int:
    """The largest side of a tile, up to 1280 pixels, that needs at most half of the free memory.

    Args:
        device: device of the network.
        channels: channels of its finest stream.
    """
    free = free_memory(device)
    side = LARGEST_SIDE
    while side > SMALLEST_SIDE and BYTES * channels * side**2 > free / 2:
        side = smaller(side)
    return side


def smaller(side: int) -> int:
    """The next smaller side, a multiple of 256."""
    return max(SMALLEST_SIDE, side // 512 * 256)


def free_memory(device: torch.device) -> float:
    """Free memory in bytes; infinite if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    system = number("/proc/meminfo", r"MemAvailable: *([0-9]+) kB", math.inf) * 1024
    limit = number("/sys/fs/cgroup/memory.max", r"^([0-9]+)$", math.inf)  # container limit
    return min(system, limit - number("/sys/fs/cgroup/memory.current", r"^([0-9]+)$", 0))


def number(path: str, pattern: str, otherwise: float) -> float:
    """The number that a pattern finds in a file of Linux, or ``otherwise``."""
    try:
        found = re.search(pattern, Path(path).read_text())
    except OSError:
        return otherwise
    return float(found[1]) if found else otherwise


def within_memory(work: Callable[[int], R], side: int, width: int, height: int) -> R:
    """Run ``work(side)``, and repeat it with half the side when memory runs out.

    Args:
        work: a function of the side of a tile; it may run several times.
        side: the first side.
        width, height: size of the picture, for the message.

    Raises:
        ImageError: memory runs out even with the smallest tiles.
    """
    while True:
        try:
            return work(side)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if side <= SMALLEST_SIDE:
                raise ImageError(
                    f"not enough memory for a picture of {width}×{height} pixels; close other "
                    'programs, keep detail="auto", or make the picture smaller'
                ) from error
        side = smaller(side)
