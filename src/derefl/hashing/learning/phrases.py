"""Texts without a picture: search queries are shorter than captions."""

import re

import numpy as np

from derefl.hashing.learning.corpus import TEMPLATES, Corpus, imagenet_names

SPANS = 2
"""Number of spans per caption."""

LONGEST = 6
"""Maximum number of words in a span."""


def loose_phrases(corpus: Corpus) -> list[str]:
    """Spans of a corpus's captions, one to six words, and the names of ImageNet-22k.

    Each span occurs once. The same corpus gives the same phrases in the same order.
    """
    rng = np.random.default_rng(0)
    spans = set()
    for row in sorted({row for rows in corpus.of[: corpus.captioned] for row in rows}):
        words = re.findall(r"[a-z][a-z'-]*", corpus.texts[row].lower())
        for _ in range(SPANS if words else 0):
            length = min(int(rng.integers(1, LONGEST + 1)), len(words))
            start = int(rng.integers(len(words) - length + 1))
            spans.add(" ".join(words[start : start + length]))
    names = sorted(set(imagenet_names().values()))
    return [*sorted(spans), *(TEMPLATES[rng.integers(len(TEMPLATES))].format(n) for n in names)]
