"""Training data of teacher and student: pictures, their texts, groups of similar pictures."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from derefl.errors import DataError
from derefl.hashing.learning.captions import read_captions
from derefl.hashing.learning.tables import picture_name, pictures_by_name, read_rows
from derefl.training.config import Share

TEMPLATES = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a picture of a {}",
    "a close up of a {}",
    "there is a {} in the picture",
)

EVERY_NAMED = 10
"""Of the sorted named pictures, numbers 0, 10, 20 … are held back, for words without captions."""


@dataclass(frozen=True)
class CorpusConfig:
    """The sources of the pictures. All are optional.

    Attributes:
        images, captions, split: a folder, its ``image,caption`` CSV, and a file that lists the
            training pictures.
        tagged, tags: a folder and its CSV with the columns ``image`` and ``tags``.
        named: a folder whose file names begin with a WordNet synset, ``n02084071_…``.
        caption_share: share of captioned pictures in a batch; the rest is drawn from ``tagged`` and
            ``named`` together.
        texts: CSV files with the column ``caption``, plain or ``.gz``: captions without a picture.
    """

    images: str = ""
    captions: str = ""
    split: str = ""
    tagged: str = ""
    tags: str = ""
    named: str = ""
    caption_share: Share = 0.75
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """Pictures with texts.

    Attributes:
        paths: one per picture.
        texts: the distinct texts; those without a picture come last.
        of: for each picture the rows of its texts.
        groups: a group number for each picture; the texts of a group fit all its pictures.
        captioned: number of pictures with their own captions; they come first.
        paired: number of texts with a picture.
    """

    paths: list[Path]
    texts: list[str]
    of: list[np.ndarray]
    groups: np.ndarray
    captioned: int
    paired: int

    def batch(
        self, count: int, share: float, rng: Generator, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ``count`` distinct pictures and of one text for each: long ``[count]``, twice.

        Args:
            count: size of the batch; smaller if there are fewer pictures.
            share: share of captioned pictures, if there are both kinds.
            rng: NumPy generator.
            among: bool ``[pictures]``, the pictures to draw from; None: all.
        """
        rows = np.arange(len(self.paths)) if among is None else np.flatnonzero(among)
        with_captions, others = rows[rows < self.captioned], rows[rows >= self.captioned]
        first = min(len(with_captions), round(share * count) if len(others) else count)
        pictures = np.concatenate(
            [
                rng.choice(with_captions, first, replace=False),
                rng.choice(others, min(len(others), count - first), replace=False),
            ]
        ).astype(np.int64)
        return pictures, np.array([rng.choice(self.of[i]) for i in pictures])

    def loose(self, count: int, rng: Generator) -> np.ndarray:
        """Rows of ``count`` random texts without a picture; none if the corpus has none."""
        if self.paired == len(self.texts):
            return np.empty(0, np.int64)
        return rng.integers(self.paired, len(self.texts), size=count)

    def in_fold(self, fold: int, folds: int) -> np.ndarray:
        """Bool ``[pictures]``: every ``folds``-th picture, from number ``fold`` on."""
        return np.arange(len(self.paths)) % folds == fold


def read_corpus(config: CorpusConfig) -> Corpus:
    """Read all sources; a DataError if one is missing or wrong, or there are none."""
    for folder, file in (("images", "captions"), ("tagged", "tags")):
        if bool(getattr(config, folder)) != bool(getattr(config, file)):
            raise DataError(f"--{folder} and --{file} belong together; give both or neither")
    found: list[tuple[Path, list[str], str]] = []  # picture, texts, group
    if config.images:
        data = read_captions(config.images, config.captions, config.split or None)
        parts = np.split(np.array(data.captions, object), np.flatnonzero(np.diff(data.rows)) + 1)
        for path, captions in zip(data.paths, parts, strict=True):
            found.append((path, captions.tolist(), f"picture {path}"))
    captioned = len(found)
    if config.tagged:
        for path, tags in read_tags(Path(config.tagged), Path(config.tags)):
            found.append((path, [tags, ", ".join(tags.split())], f"tags {tags}"))
    if config.named:
        for i, (path, name) in enumerate(named_pictures(Path(config.named))):
            if i % EVERY_NAMED:
                found.append((path, [t.format(name) for t in TEMPLATES], f"name {name}"))
    if not found:
        raise DataError("there are no pictures to learn from; give --images and --captions")
    paired = dict.fromkeys(text for _, texts, _ in found for text in texts)
    more = (r["caption"] for file in config.texts for r in read_rows(Path(file), ("caption",)))
    rows = {text: i for i, text in enumerate(dict.fromkeys([*paired, *more]))}
    groups = {group: i for i, group in enumerate(dict.fromkeys(group for *_, group in found))}
    return Corpus(
        paths=[path for path, *_ in found],
        texts=list(rows),
        of=[np.array([rows[text] for text in texts]) for _, texts, _ in found],
        groups=np.array([groups[group] for *_, group in found]),
        captioned=captioned,
        paired=len(paired),
    )


def read_tags(folder: Path, tags: Path) -> list[tuple[Path, str]]:
    """Pictures and their tags as words with spaces; pictures without tags are skipped."""
    pictures = pictures_by_name(folder)
    found = [
        (picture_name(r["image"]), r["tags"].strip()) for r in read_rows(tags, ("image", "tags"))
    ]
    if absent := [name for name, _ in found if name not in pictures]:
        raise DataError(f"{tags} names {absent[0]!r}, which is not in {folder}; remove the row")
    return [(pictures[name], words) for name, words in found if words]


def named_pictures(folder: Path) -> list[tuple[Path, str]]:
    """Pictures whose names begin with a WordNet synset of timm, and the synset's first word."""
    names = imagenet_names()
    found = []
    for path in pictures_by_name(folder).values():
        synset = re.match(r"n\d{8}(?=_)", path.name)
        if synset and synset[0] in names:
            found.append((path, names[synset[0]]))
    if not found:
        raise DataError(
            f"no picture in {folder} has a name that begins with a WordNet synset of ImageNet, "
            "expected names like n02084071_1.jpg"
        )
    return found


def imagenet_names() -> dict[str, str]:
    """timm's first word for each WordNet synset of ImageNet-22k."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-22k")
    return {
        synset: info.label_name_to_description(synset).split(",")[0].lower()
        for synset in info.label_names()
    }
