"""Evaluation of a hasher on captioned or labelled pictures, next to random codes and baselines.

The database is always *hashed*: its codes come from pictures or texts alone, as in practice.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from derefl.errors import ConfigError
from derefl.hashing.codes import BITS, prefix
from derefl.hashing.learning.baselines import BASELINES, random_codes
from derefl.hashing.learning.captions import CaptionData
from derefl.hashing.learning.labelled import LabelledData, split_queries
from derefl.hashing.learning.ranking import label_report
from derefl.hashing.learning.recall import TIE_RULE, caption_recall, standing, summary

if TYPE_CHECKING:
    from derefl.hashing.hasher import Hasher

DATABASE = "hashed from the pictures or texts alone"
Measure = Callable[[np.ndarray, np.ndarray], dict[str, Any]]


class Features(NamedTuple):
    """Float features of unit length, ``[n d]`` and ``[m d]``."""

    images: np.ndarray
    texts: np.ndarray


def evaluate_captions(
    hasher: "Hasher",
    data: CaptionData,
    *,
    bits: Sequence[int] = BITS,
    baselines: bool = False,
    train: CaptionData | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Recall of pictures by captions and of captions by pictures.

    Args:
        hasher: its codes must have at least the longest of ``bits``; shorter codes are prefixes, so
            that each picture and text is encoded once.
        data: queries and database.
        bits: code lengths to report.
        baselines: also evaluate LSH, ITQ and CCA + ITQ on the hasher's float features.
        train: pairs to fit the baselines on; None: ``data`` itself, an advantage for the baselines.
        seed: of random codes and baselines.
        progress: show progress bars.

    Returns:
        ``n_images``; ``n_texts``; ``codes`` by length; ``float``, by cosine of the real-valued
        features; ``baselines`` by name and length, always with ``random``, and without lengths
        above the width of the features. Each is a result of
        :func:`~derefl.hashing.learning.recall.caption_recall`.

    Raises:
        ConfigError: a length above the length of the hasher's codes.
        ImageError: a picture cannot be read.
    """
    check_lengths(hasher, bits)

    def measure(images: np.ndarray, texts: np.ndarray) -> dict[str, Any]:
        return caption_recall(images, texts, data.rows)

    features = features_of(hasher, data, progress)
    pairs = None
    if baselines:
        fitted = features_of(hasher, train, progress) if train else features
        pairs = Features(fitted.images[(train or data).rows], fitted.texts)
    return {
        "n_images": len(data.paths),
        "n_texts": len(data.captions),
        **results(
            hasher, data.paths, data.captions, features, pairs, bits, seed, progress, measure
        ),
    }


def evaluate_labels(
    hasher: "Hasher",
    data: LabelledData,
    *,
    bits: Sequence[int] = BITS,
    queries: int | None = None,
    baselines: bool = False,
    train: LabelledData | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Average precision and curves; items that share a label are relevant.

    Args:
        hasher, bits, baselines, progress: as in :func:`evaluate_captions`.
        data: split into queries and database.
        queries: number of queries; None: a tenth.
        train: pairs to fit the baselines on; None: the database.
        seed: of the split, of random codes and of baselines.

    Returns:
        The protocol (``n_queries``, ``n_database``, ``seed``, ``tie_rule``, ``database``), and
        ``codes``, ``float`` and ``baselines`` as in :func:`evaluate_captions`, with a
        :func:`~derefl.hashing.learning.ranking.label_report` for each direction.

    Raises:
        ConfigError: a length above the length of the hasher's codes, or no query.
        ImageError: a picture cannot be read.
    """
    check_lengths(hasher, bits)
    asking, asked = split_queries(len(data.paths), queries, seed)
    labels = data.labels[asking], data.labels[asked]

    def measure(images: np.ndarray, texts: np.ndarray) -> dict[str, Any]:
        return {
            "text_to_image": label_report(texts[asking], images[asked], *labels),
            "image_to_text": label_report(images[asking], texts[asked], *labels),
        }

    features = features_of(hasher, data, progress)
    pairs = None
    if baselines:
        pairs = features_of(hasher, train, progress) if train else features
        pairs = pairs if train else Features(pairs.images[asked], pairs.texts[asked])
    return {
        "n_queries": len(asking),
        "n_database": len(asked),
        "seed": seed,
        "tie_rule": TIE_RULE,
        "database": DATABASE,
        **results(hasher, data.paths, data.texts, features, pairs, bits, seed, progress, measure),
    }


def evaluate_names(
    hasher: "Hasher",
    paths: Sequence[Any],
    texts: Sequence[str],
    *,
    bits: Sequence[int] = BITS,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Recall of pictures by their class names, and of class names by pictures.

    Args:
        hasher, bits, seed, progress: as in :func:`evaluate_captions`.
        paths: pictures.
        texts: the class name of each picture; each distinct text is one query.

    Returns:
        ``n_images``, ``n_texts`` (distinct), ``codes``, ``float`` and ``baselines`` (random codes)
        as in :func:`evaluate_captions`.

    Raises:
        ConfigError: a length above the length of the hasher's codes.
        ImageError: a picture cannot be read.
    """
    check_lengths(hasher, bits)
    names, of = np.unique(np.array(texts), return_inverse=True)
    distinct, numbers = names.tolist(), np.arange(len(names))

    def measure(images: np.ndarray, texts: np.ndarray) -> dict[str, Any]:
        return {
            "text_to_image": summary(standing(texts, images, numbers, of)),
            "image_to_text": summary(standing(images, texts, of, numbers)),
        }

    features = Features(
        hasher.image_features(list(paths), progress=progress),
        hasher.text_features(distinct, progress=progress),
    )
    return {
        "n_images": len(paths),
        "n_texts": len(distinct),
        **results(hasher, paths, distinct, features, None, bits, seed, progress, measure),
    }


def results(
    hasher: "Hasher",
    paths: Sequence[Any],
    texts: Sequence[str],
    features: Features,
    pairs: Features | None,
    bits: Sequence[int],
    seed: int,
    progress: bool,
    measure: Measure,
) -> dict[str, Any]:
    """``codes``, ``float`` and ``baselines`` by one measure of pictures against texts."""
    longest = (
        hasher.encode_image(list(paths), progress=progress),
        hasher.encode_text(list(texts), progress=progress),
    )
    codes = {str(k): measure(*(prefix(code, k) for code in longest)) for k in bits}
    others: dict[str, dict[str, Any]] = {"random": {}}
    for k in bits:
        drawn = random_codes(len(paths), k, seed), random_codes(len(texts), k, seed + 1)
        others["random"][str(k)] = measure(*drawn)
    if pairs is not None:
        for name, fit in BASELINES.items():
            # ITQ and CCA have at most as many directions as features.
            reach = max(bits) if name == "lsh" else pairs.images.shape[1]
            others[name] = {}
            for k in (k for k in bits if k <= reach):
                fitted = fit(pairs.images, pairs.texts, k, seed)
                others[name][str(k)] = measure(
                    fitted.encode_image(features.images), fitted.encode_text(features.texts)
                )
    return {"codes": codes, "float": measure(*features), "baselines": others}


def features_of(hasher: "Hasher", data: CaptionData | LabelledData, progress: bool) -> Features:
    """The hasher's float features of all pictures and texts."""
    texts = data.captions if isinstance(data, CaptionData) else data.texts
    return Features(
        hasher.image_features(list(data.paths), progress=progress),
        hasher.text_features(list(texts), progress=progress),
    )


def check_lengths(hasher: "Hasher", bits: Sequence[int]) -> None:
    """Refuse lengths above the length of the hasher's codes."""
    if not bits or max(bits) > hasher.bits or not set(bits) <= set(BITS):
        raise ConfigError(
            f"got code lengths {', '.join(map(str, bits)) or '(none)'} for a model of "
            f"{hasher.bits} bits, expected some of {', '.join(map(str, BITS))} up to that; load it "
            f"with bits={max(BITS)}"
        )
