"""Pictures as input of the towers."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from derefl.errors import ConfigError
from derefl.imaging.arrays import Array, Bytes, StrPath, as_picture
from derefl.imaging.files import open_picture
from derefl.imaging.sixteen_bit import SixteenBitPicture
from derefl.imaging.tensors import to_rgb

Picture: TypeAlias = Image.Image | SixteenBitPicture | Array | StrPath | Bytes
Box: TypeAlias = tuple[int, int, int, int]

MARGIN = 0.1
"""Part of the width and of the height that the view of the centre leaves out on each side."""

GAP = 3
"""Pictures that are more than this times too large are first reduced by a fast method."""

THREADS = 8
"""Most threads that decode files; each holds one picture in memory."""

AHEAD = 64
"""Most files that are decoded before their use."""


class Views(NamedTuple):
    """A picture as the image tower sees it: RGB squares of the whole and of the centre."""

    whole: Image.Image
    centre: Image.Image


def read(picture: Any) -> Image.Image:
    """A picture, array, path or bytes, upright, in 8-bit RGB; see :func:`to_rgb`.

    Raises:
        ImageError: another type, or the file cannot be read.
    """
    tensors = "stack tensors of one size to a batch: torch.stack(tensors)"
    return to_rgb(as_picture(picture, first_frame=True, tensors=tensors))


def square(image: Image.Image, side: int, box: Box | None = None) -> Image.Image:
    """Resize the picture, or a part of it, to ``side`` × ``side``; the aspect ratio may change.

    Training on Flickr8k uses the same resizing.
    """
    return image.resize((side, side), Image.Resampling.BICUBIC, box, GAP)


def centre(width: int, height: int) -> Box:
    """Left, top, right and bottom of the centre, see :data:`MARGIN`."""
    left, top = round(MARGIN * width), round(MARGIN * height)
    return left, top, width - left, height - top


def prepared(pictures: Iterable[Any], side: int) -> Iterator[Future[Views]]:
    """The views of pictures and files, in order. :class:`Views` are passed through.

    Threads decode the files before their use. Large JPEG files are decoded at reduced size, with
    sides of at least :data:`GAP` times ``side``.
    """

    def views(picture: Any) -> Views:
        if isinstance(picture, Views):
            return picture
        if isinstance(picture, str | os.PathLike):
            path = os.fsdecode(picture)
            picture = open_picture(path, first_frame=True, least_side=GAP * side)
        image = read(picture)
        return Views(square(image, side), square(image, side, centre(*image.size)))

    waiting: deque[Future[Views]] = deque()
    with ThreadPoolExecutor(min(THREADS, torch.get_num_threads())) as pool:
        try:
            for picture in pictures:
                if isinstance(picture, str | os.PathLike):
                    waiting.append(pool.submit(views, picture))
                else:  # threads must not share a PIL picture that is not decoded yet
                    waiting.append(Future())
                    waiting[-1].set_result(views(picture))
                if len(waiting) > AHEAD:
                    yield waiting.popleft()
            yield from waiting
        except GeneratorExit:  # after an error or Ctrl-C in the caller
            pool.shutdown(cancel_futures=True)
            raise


def tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size: ``[n 3 h w]`` in [0, 1], channels last in memory."""
    stack = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return stack.permute(0, 3, 1, 2).float().div(255)


def listed(given: Any) -> Iterable[Any]:
    """One picture, path, text or array of pixels as a list; an iterable unchanged."""
    pixels = isinstance(given, np.ndarray) and given.ndim > 1
    alone = isinstance(given, str | Bytes) or not isinstance(given, Iterable)
    return [given] if alone or pixels else given


def batches(items: Iterable[Any], size: int) -> Iterator[Any]:
    """Parts of at most ``size`` items, in order: slices of a tensor, else lists.

    Raises:
        ConfigError: ``size`` is below 1.
    """
    if size < 1:
        raise ConfigError(f"got batch_size={size}, expected at least 1")
    if isinstance(items, Tensor):
        return iter(items.split(size) if len(items) else ())
    rest = iter(items)
    return iter(lambda: list(islice(rest, size)), [])
