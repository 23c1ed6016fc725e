"""Streams of pairs for the online protocol: ordered chunks, and held-back queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from derefl.errors import ConfigError, DataError
from derefl.hashing.learning.captions import CaptionData
from derefl.hashing.learning.labelled import LabelledData, split_queries
from derefl.hashing.learning.matlab import MatData


class StreamPairs(NamedTuple):
    """Pictures with one text each.

    Attributes:
        images: input of the learner: paths or arrays.
        texts: one per picture.
        labels: define relevance: bool ``[n classes]``, or int ``[n]`` (relevant if equal).
    """

    images: Sequence[Any]
    texts: Sequence[Any]
    labels: np.ndarray

    def take(self, numbers: np.ndarray) -> "StreamPairs":
        """The pairs with these numbers, in this order."""
        images, texts = ([items[i] for i in numbers] for items in (self.images, self.texts))
        return StreamPairs(images, texts, self.labels[numbers])


@dataclass(frozen=True)
class Stream:
    """Chunks and queries.

    Attributes:
        chunks: in the order of the stream.
        queries: pairs whose texts and pictures are queries.
        order: ``random`` or ``by theme``.
        labels_known: whether the learner gets the labels.
        seed: of every draw.
    """

    chunks: tuple[StreamPairs, ...]
    queries: StreamPairs
    order: str
    labels_known: bool
    seed: int


def labelled_stream(
    data: LabelledData | MatData,
    *,
    chunk_size: int = 2000,
    themes_per_chunk: int | None = None,
    queries: int | None = None,
    seed: int = 0,
    labels_known: bool = True,
) -> Stream:
    """A stream of labelled pairs in random order, or class by class.

    Args:
        data: pairs with labels. If a ``.mat`` file has its own test part, queries are drawn from
            it, by default all, and the rest of the part is left out.
        chunk_size: pairs per chunk; the last chunk also gets the remainder, as in LEMON.
        themes_per_chunk: chunks consist of this many whole themes, in random order; None: random.
        queries: number of held-back pairs; None: a tenth.
        seed: of all draws.
        labels_known: whether the learner gets the labels.

    Raises:
        ConfigError: no queries, no pairs left to stream, or empty chunks.
        DataError: class by class, but the data have no themes.
    """
    themes, test = getattr(data, "themes", None), getattr(data, "test", None)
    images: Any = data.images if isinstance(data, MatData) else data.paths
    texts: Any = data.texts
    pairs = StreamPairs(images, texts, data.labels)
    if test is not None:
        asking, rest = np.flatnonzero(test), np.flatnonzero(~test)
        if queries is not None:
            asking = asking[split_queries(len(asking), queries, seed).queries]
    else:
        asking, rest = split_queries(len(data.labels), queries, seed)
    if themes_per_chunk is None:
        parts, order = random_chunks(rest, chunk_size, seed), "random"
    else:
        if themes is None:
            raise DataError("the data have no themes; add a column 'theme', or use --chunk-size")
        parts = theme_chunks(rest, np.array(themes), themes_per_chunk, seed)
        order = "by theme"
    chunks = tuple(map(pairs.take, parts))
    return Stream(chunks, pairs.take(asking), order, labels_known, seed)


def caption_stream(
    data: CaptionData, *, chunk_size: int = 2000, queries: int | None = None, seed: int = 0
) -> Stream:
    """A random stream of captioned pictures without labels; a picture matches its own captions.

    Each picture comes with its first caption. Some pictures are also queries: the second caption
    searches for the picture, and the picture for its first caption. Arguments and errors are as in
    :func:`labelled_stream`; a picture with only one caption is a DataError.
    """
    n = len(data.paths)
    first = np.searchsorted(data.rows, np.arange(n))
    if len(single := np.flatnonzero(np.bincount(data.rows, minlength=n) < 2)):
        raise DataError(
            f"{data.names[single[0]]} has one caption, expected two: one comes with the picture, "
            "the other asks for it; add one, or leave the picture out with --split"
        )
    asking = split_queries(n, queries, seed).queries
    pairs = StreamPairs(data.paths, [data.captions[i] for i in first], np.arange(n))
    asked = StreamPairs(data.paths, [data.captions[i + 1] for i in first], np.arange(n))
    chunks = tuple(map(pairs.take, random_chunks(np.arange(n), chunk_size, seed)))
    return Stream(chunks, asked.take(asking), "random", False, seed)


def random_chunks(numbers: np.ndarray, size: int, seed: int) -> list[np.ndarray]:
    """Shuffle, and cut into chunks of ``size``; the last chunk also gets the remainder."""
    if size < 1:
        raise ConfigError(f"got chunks of {size} pairs, expected at least 1; set --chunk-size")
    shuffled = np.random.default_rng([seed, 1]).permutation(numbers)
    return np.split(shuffled, np.arange(1, max(1, len(numbers) // size)) * size)


def theme_chunks(
    numbers: np.ndarray, themes: np.ndarray, per_chunk: int, seed: int
) -> list[np.ndarray]:
    """``per_chunk`` whole themes per chunk; the themes and each chunk are shuffled."""
    if per_chunk < 1:
        raise ConfigError(f"got {per_chunk} themes a chunk, expected at least 1")
    generator = np.random.default_rng([seed, 1])
    order = generator.permutation(np.unique(themes[numbers]))
    groups = [order[i : i + per_chunk] for i in range(0, len(order), per_chunk)]
    return [generator.permutation(numbers[np.isin(themes[numbers], group)]) for group in groups]
