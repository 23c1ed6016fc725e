"""Apply the network to a picture of any size.

``one_pass`` is a function that runs the network once: from pictures ``[b 3 h w]`` in [0, 1] to
their change T̂ − I, with the same shape. No state is kept between pictures.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from derefl.errors import ConfigError
from derefl.reflection.channel_means import recording, replaying
from derefl.reflection.model import MULTIPLE, SMALLEST
from derefl.reflection.tiling.guided_filter import gain_and_offset
from derefl.reflection.tiling.row_reader import RowReader, enlarged
from derefl.reflection.tiling.spans import Span, spans

OnePass = Callable[[Tensor], Tensor]

DETAILS = ("auto", "full")
"""Modes for a large picture, see :func:`changes`."""

WHOLE = 2**19
"""Pixels of a photo above which the network sees the photo scaled down to this size. The network
is trained on small pictures and recognises large reflections less well."""

HALVED_FROM = 128
"""Shorter side in pixels from which the network also sees the picture at half size."""

OVERLAP = 512
"""Pixels that two tiles share. The overlap and the side of a tile are multiples of 256, the size of
an attention window at stride 32."""

ROUNDS = 3
"""Rounds over the tiles that measure the channel means: the means of a layer are right only when
those of all layers before are right."""

RADIUS, EPS = 2, 1e-4
"""Parameters of the guided filter."""


def changes(
    one_pass: OnePass, rows: RowReader, detail: str, side: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Compute the change of a picture in strips from top to bottom.

    Args:
        one_pass: runs the network once.
        rows: the picture.
        detail: mode for a large picture. ``auto``: scale the picture down, and transfer the change
            to full size. ``full``: also process the picture at full size, and average both changes.
        side: side of a tile; a picture with no more pixels than a tile is processed in one piece.

    Yields:
        ``(top, pixels, change)``; pixels and change are float32 ``[b 3 n w]``.
    """
    if area(rows.height, rows.width) <= WHOLE:
        yield from in_strips(rows, [(0, two_passes(one_pass, rows.read(0, rows.height)))])
        return
    guided = guided_change(one_pass, rows)
    if detail == "auto":
        for top, bottom in rows.strips():
            pixels = rows.read(top, bottom)
            yield top, pixels, guided(pixels, top)
    else:
        for top, pixels, change in in_strips(rows, in_full(one_pass, rows, side)):
            yield top, pixels, change.add_(guided(pixels, top)).div_(2)


def check_detail(detail: str) -> None:
    """ConfigError if there is no such mode."""
    if detail not in DETAILS:
        raise ConfigError(f"got detail={detail!r}, expected one of {', '.join(DETAILS)}")


def in_strips(
    rows: RowReader, bands: Iterable[tuple[int, Tensor]]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Cut bands ``(top, change)`` into strips ``(top, pixels, change)``."""
    for start, change in bands:
        for top, bottom in rows.strips(start, start + change.shape[2]):
            yield top, rows.read(top, bottom), change[:, :, top - start : bottom - start]


def area(h: int, w: int) -> int:
    """Number of pixels of a picture of this size, after padding to :data:`SMALLEST`."""
    return max(h, SMALLEST) * max(w, SMALLEST)


def two_passes(one_pass: OnePass, pixels: Tensor) -> Tensor:
    """The mean of the changes at full and at half size, ``[b 3 h w]`` in and out.

    At half size, the network sees more of a large reflection at once.
    """
    h, w = pixels.shape[2:]
    change = one_pass(pixels)
    if min(h, w) < HALVED_FROM:
        return change
    half = F.interpolate(pixels, (h // 2, w // 2), mode="bilinear", antialias=True)
    small = F.interpolate(one_pass(half), (h, w), mode="bicubic")
    return (change + small) / 2


def guided_change(one_pass: OnePass, rows: RowReader) -> Callable[[Tensor, int], Tensor]:
    """The change of the scaled-down picture, transferred to full size by the guided filter.

    Returns:
        A function from pixels ``[b 3 n w]`` and their first row to their change.
    """
    h, w = rows.height, rows.width
    scale = (WHOLE / area(h, w)) ** 0.5
    small = rows.shrunk(max(1, int(h * scale)), max(1, int(w * scale)))
    gain, offset = gain_and_offset(small, two_passes(one_pass, small), radius=RADIUS, eps=EPS)

    def change(pixels: Tensor, top: int) -> Tensor:
        bottom = top + pixels.shape[2]
        scaled = pixels * enlarged(gain, h, w, top, bottom, "bilinear")
        return scaled.add_(enlarged(offset, h, w, top, bottom, "bilinear"))

    return change


def in_full(one_pass: OnePass, rows: RowReader, side: int) -> Iterator[tuple[int, Tensor]]:
    """One pass over a picture at full size, in tiles if the picture is larger than a tile."""
    if area(rows.height, rows.width) <= side**2:
        yield 0, one_pass(rows.read(0, rows.height))
    else:
        yield from tiled(one_pass, rows, side)


def tiled(one_pass: OnePass, rows: RowReader, side: int) -> Iterator[tuple[int, Tensor]]:
    """One pass over a picture in blended tiles that share the channel means of the picture."""
    means = picture_means(one_pass, rows, side)
    up, left = -rows.height % MULTIPLE // 2, -rows.width % MULTIPLE // 2
    shared: Tensor | None = None
    for y, pixels in tile_rows(rows, side):
        change = torch.zeros_like(pixels)
        for x in spans(pixels.shape[3], side=side, overlap=OVERLAP):
            with replaying(means):
                seen = one_pass(pixels[:, :, :, x.start : x.stop])
            change[:, :, :, x.start : x.stop] += seen * weight(y, x)
        if shared is not None:
            change[:, :, :OVERLAP] += shared
        end = y.stop if y.stop - up >= rows.height else y.stop - OVERLAP
        shared = change[:, :, end - y.start :].clone()
        top, bottom = max(0, y.start - up), min(rows.height, end - up)
        inside = slice(top + up - y.start, bottom + up - y.start)
        yield top, change[:, :, inside, left : left + rows.width]


def picture_means(one_pass: OnePass, rows: RowReader, side: int) -> list[Tensor]:
    """Estimate the network's channel means over a picture that is larger than a tile.

    First compute the means of the scaled-down picture. Each round processes the tiles with the last
    means and measures new ones at full size. ``docs/big_photos.md`` compares the result with a
    single pass.
    """
    scale = (side**2 / area(rows.height, rows.width)) ** 0.5
    small = rows.shrunk(*(max(1, int(n * scale)) for n in (rows.height, rows.width)))
    with recording(torch.ones(MULTIPLE, MULTIPLE)) as means:
        one_pass(small)
    height, width = rows.height + -rows.height % MULTIPLE, rows.width + -rows.width % MULTIPLE
    for _ in range(ROUNDS):
        total = [torch.zeros_like(mean) for mean in means]
        for y, pixels in tile_rows(rows, side):
            for x in spans(pixels.shape[3], side=side, overlap=OVERLAP):
                with recording(weight(y, x), means) as seen:
                    one_pass(pixels[:, :, :, x.start : x.stop])
                share = (y.stop - y.start) * (x.stop - x.start)
                total = [sum_ + share * mean for sum_, mean in zip(total, seen, strict=True)]
        means = [sum_ / (height * width) for sum_ in total]
    return means


def tile_rows(rows: RowReader, side: int) -> Iterator[tuple[Span, Tensor]]:
    """The span of each row of tiles, and its pixels ``[b 3 n w]``.

    The picture is first padded like in the network, so that the attention windows of tiles match
    the attention windows of the whole picture.
    """
    h, w = rows.height, rows.width
    up, left = -h % MULTIPLE // 2, -w % MULTIPLE // 2
    border = "reflect" if min(h, w) >= MULTIPLE else "replicate"
    for y in spans(h + -h % MULTIPLE, side=side, overlap=OVERLAP):
        pixels = rows.read(max(0, y.start - up), min(h, y.stop - up))
        above, below = max(0, up - y.start), max(0, y.stop - up - h)
        yield y, F.pad(pixels, (left, -w % MULTIPLE - left, above, below), mode=border)


def weight(y: Span, x: Span) -> Tensor:
    """Blending weights of a tile's pixels, ``[h w]``."""
    return y.weight[:, None] * x.weight
