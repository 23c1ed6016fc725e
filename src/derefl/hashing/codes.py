"""Binary codes as bytes: packing, and distances between them.

A code of K bits is uint8 ``[K/8]`` in the order of :func:`numpy.packbits`, first bit highest. A bit
is 1 where the real value is above 0. Codes are nested: the first K' bits of a code are the code of
K' bits.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derefl.errors import ConfigError, HashIndexError

Codes = NDArray[np.uint8]

BITS = (16, 32, 64, 128)
"""The supported code lengths."""


def pack(values: ArrayLike) -> Codes:
    """Pack signs or real values ``[n K]`` (or ``[K]``) into codes uint8 ``[n K/8]`` (or ``[K/8]``).

    Raises:
        HashIndexError: K is not a multiple of 8.
    """
    array = np.asarray(values)
    if array.ndim == 0 or array.shape[-1] % 8:
        raise HashIndexError(
            f"got values of shape {list(array.shape)}, expected [n, K] with K a multiple of 8; "
            f"K is usually one of {', '.join(map(str, BITS))}"
        )
    return np.packbits(array > 0, axis=-1)


def unpack(codes: Codes) -> NDArray[np.float32]:
    """Unpack codes ``[n K/8]`` into signs ``[n K]``, −1 or 1.

    With float32, inner products are exact and fast; with int8 they would overflow. For K bits, the
    distance is (K − inner product) / 2.
    """
    return np.unpackbits(codes, axis=-1).astype(np.float32) * 2 - 1


def prefix(codes: Codes, bits: int) -> Codes:
    """The first ``bits`` bits of codes ``[n K/8]``, as a copy ``[n bits/8]``.

    Raises:
        ConfigError: ``bits`` is not in :data:`BITS`.
        HashIndexError: the codes have fewer bits.
    """
    check_bits(bits)
    if codes.shape[-1] * 8 < bits:
        raise HashIndexError(
            f"got codes of {codes.shape[-1] * 8} bits, expected at least the {bits} asked for; "
            f"encode with bits={bits}"
        )
    return np.array(codes[..., : bits // 8])


def hamming(a: Codes, b: Codes) -> NDArray[np.uint8]:
    """The number of different bits between each of ``a`` ``[n K/8]`` and each of ``b`` ``[m K/8]``.

    Returns:
        uint8 ``[n m]``; convert to a wider type before a subtraction.

    Raises:
        HashIndexError: ``a`` and ``b`` have different code lengths.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise HashIndexError(
            f"got codes of shapes {list(a.shape)} and {list(b.shape)}, expected [n, K/8] and "
            "[m, K/8] of one length; cut the longer ones with prefix(codes, bits)"
        )
    words_a, words_b = as_words(np.ascontiguousarray(a)), as_words(np.ascontiguousarray(b))
    result = np.empty((len(a), len(b)), np.uint8)
    for row, word in zip(result, words_a, strict=True):  # n × m words at once would fill the memory
        np.bitwise_count(words_b ^ word).sum(axis=1, dtype=np.uint8, out=row)
    return result


def as_words(codes: Codes) -> NDArray[Any]:
    """A view of contiguous codes ``[n K/8]`` as words ``[n w]``, as wide as the length allows."""
    for dtype in (np.uint64, np.uint32, np.uint16):
        if codes.shape[1] % np.dtype(dtype).itemsize == 0:
            return codes.view(dtype)
    return codes


def check_bits(bits: int) -> None:
    """Raise ConfigError if there are no codes of this length."""
    if bits not in BITS:
        raise ConfigError(
            f"got bits={bits!r}, expected one of {', '.join(map(str, BITS))}; 64 suits most"
        )


def check_codes(codes: Any, bits: int, what: Literal["codes", "query codes"] = "codes") -> Codes:
    """Check codes ``[n bits/8]``, or one code ``[bits/8]``; return a contiguous ``[n bits/8]``.

    Raises:
        HashIndexError: wrong type, shape or length.
    """
    array = np.asarray(codes)
    if array.dtype != np.uint8 or array.ndim not in (1, 2):
        words = "" if what == "codes" else "a text, a picture (PIL, Path or bytes), or codes "
        raise HashIndexError(
            f"got {what} of type {array.dtype} and shape {list(array.shape)}, expected {words}"
            f"uint8 [n, {bits // 8}]; pack(values) makes codes of real values or signs"
        )
    if array.shape[-1] != bits // 8:
        raise HashIndexError(
            f"got {what} of {array.shape[-1] * 8} bits, expected {bits}; encode with "
            f"load_lcdh_student(bits={bits})"
        )
    return np.ascontiguousarray(array.reshape(-1, bits // 8))
