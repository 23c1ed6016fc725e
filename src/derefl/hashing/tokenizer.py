"""Split any string into word pieces, with the list of pieces in the package."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from derefl.errors import ConfigError
from derefl.hashing.pictures import batches, listed

PAD, UNKNOWN = "[PAD]", "[UNK]"

MANY = 0.3
"""The share of unknown words in a text from which :func:`unknown_words` returns them."""


@cache
def word_pieces() -> tuple[str, ...]:
    """24,000 pieces: the ASCII pieces of BERT's uncased list (Apache-2.0), [PAD] and [UNK] first.

    Every letter, digit and sign is a piece, so that every unknown word can be split into pieces.
    """
    text = (files("derefl.hashing") / "vocabulary.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


@cache
def tokenizer(vocabulary: int, max_tokens: int) -> Tokenizer:
    """Lower case, no accents, words split at spaces and signs, then into the longest pieces.

    Raises:
        ConfigError: there are fewer than ``vocabulary`` pieces.
    """
    if vocabulary > len(word_pieces()):
        raise ConfigError(f"got vocabulary={vocabulary}, expected at most {len(word_pieces())}")
    pieces = {piece: i for i, piece in enumerate(word_pieces()[:vocabulary])}
    made = Tokenizer(WordPiece(pieces, unk_token=UNKNOWN))
    made.normalizer = BertNormalizer(lowercase=True)
    made.pre_tokenizer = BertPreTokenizer()
    made.enable_truncation(max_tokens)
    return made


def strings(texts: Any) -> list[str]:
    """One string or an iterable of strings as a list of valid Unicode.

    Half a surrogate pair, for example from a broken byte on a command line, is replaced by �.

    Raises:
        ConfigError: an item is not a string.
    """
    found = list(listed(texts))
    if wrong := [text for text in found if not isinstance(text, str)]:
        raise ConfigError(
            f"got a {type(wrong[0]).__name__} among the texts, expected strings; decode bytes "
            "first: text.decode()"
        )
    return [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in found]


def tokenize(texts: Sequence[str], vocabulary: int, max_tokens: int) -> list[list[int]]:
    """Numbers of the pieces of each text; at most ``max_tokens``, empty for an empty text."""
    # Only the first pieces count, and a piece has at least one letter: do not split a whole book.
    texts = [text[: 64 * max_tokens] for text in texts]
    encoded = tokenizer(vocabulary, max_tokens).encode_batch_fast(texts)
    return [e.ids for e in encoded]


def unknown_words(text: str) -> list[str]:
    """The words that are not in the list of pieces, if the text has many of them.

    Such a text is probably not English. Of the captions of Flickr8k, 0.5 % have so many.
    """
    words = re.findall(r"[^\W\d_]+", text[:4096])
    encodings = tokenizer(len(word_pieces()), 64).encode_batch(words)
    pieces = [encoding.tokens for encoding in encodings]
    unknown = [w for w, p in zip(words, pieces, strict=True) if len(p) > 1 or UNKNOWN in p]
    return unknown if len(unknown) > MANY * len(words) else []


def padded(tokens: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of equal length: int64 ``[n longest]``, at least one column, 0 for padding."""
    out = np.zeros((len(tokens), max(1, *map(len, tokens)) if tokens else 1), dtype=np.int64)
    for row, pieces in zip(out, tokens, strict=True):
        row[: len(pieces)] = pieces
    return out


def by_length(tokens: Sequence[Sequence[int]], size: int) -> list[np.ndarray]:
    """The numbers of the texts in parts of ``size``, shortest texts first: little padding.

    Each part is in ascending order.

    Raises:
        ConfigError: ``size`` is below 1.
    """
    order = np.argsort([len(pieces) for pieces in tokens], kind="stable")
    return [np.sort(part) for part in batches(order, size)]
