"""Conversion to and from the binary indexes of FAISS, for approximate search and other programs.

Both formats hold the same bytes, so the distances are the same. The kind ``flat`` is exact and
finds the same neighbours, but FAISS does not define the order of neighbours at equal distance.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from derefl.errors import ConfigError, HashIndexError, needs
from derefl.files import atomic_file, write_file
from derefl.hashing.codes import Codes
from derefl.hashing.index.hash_index import HashIndex

if TYPE_CHECKING:
    import faiss

Kind = Literal["flat", "ivf", "hnsw"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SAMPLE = 64
"""Codes per list in the sample from which the centres are learned."""


class Side(msgspec.Struct):
    """The JSON file beside a FAISS file: the parts of an index that FAISS cannot store.

    Attributes:
        model, sha256, extra: of the :class:`~derefl.HashIndex`.
        ids: None if FAISS stores them.
    """

    model: str
    sha256: str
    ids: list[int | str] | None
    extra: dict[str, Any]


def to_faiss(
    index: HashIndex, kind: Kind = "flat", *, lists: int | None = None, links: int = 16
) -> "faiss.IndexBinaryIDMap2":
    """Convert the codes to a FAISS index.

    FAISS supports only 64-bit integer ids. If the index has other ids, the FAISS index has row
    numbers: ``index.ids[row]``.

    The range of an approximate search is set on the inner index,
    ``faiss.downcast_IndexBinary(result.index)``: ``nprobe`` for ``ivf`` (here: a 16th of the
    lists), ``hnsw.efSearch`` for ``hnsw`` (here: 64).

    Args:
        index: the codes.
        kind: ``flat`` is exact; ``ivf`` searches the lists with the nearest centres; ``hnsw``
            follows links between codes.
        lists: the number of lists of ``ivf``; None: the square root of the number of codes.
        links: the number of links per code of ``hnsw``.

    Raises:
        MissingExtraError: faiss is not installed.
        ConfigError: the kind does not exist, or lists or links are out of range.
        HashIndexError: ``ivf`` has more lists than codes, so the centres cannot be learned.
    """
    faiss = import_faiss()
    if kind not in KINDS:
        raise ConfigError(f"got kind={kind!r}, expected one of {', '.join(KINDS)}")
    if not 2 <= links <= 1024 or (lists is not None and lists < 1):
        raise ConfigError(
            f"got lists={lists} and links={links}, expected lists of at least 1 and links from 2 "
            "to 1024"
        )
    if kind == "flat":
        inner = faiss.IndexBinaryFlat(index.bits)
    elif kind == "ivf":
        inner = learned_lists(index, lists or max(1, round(len(index) ** 0.5)))
    else:
        inner = faiss.IndexBinaryHNSW(index.bits, links)
        inner.hnsw.efSearch = 64
    result = faiss.IndexBinaryIDMap2(inner)
    numbers = index.integer_ids
    if len(index):
        result.add_with_ids(index.codes, np.arange(len(index)) if numbers is None else numbers)
    return result


def learned_lists(index: HashIndex, lists: int) -> "faiss.IndexBinaryIVF":
    """Empty lists whose centres were learned from a sample of the codes."""
    faiss = import_faiss()
    if len(index) < lists or len(index) == 0:
        raise HashIndexError(
            f"got {len(index)} codes for {lists} lists, expected at least one code a list; choose "
            "fewer lists, or the kind flat"
        )
    inner = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(index.bits), index.bits, lists)
    inner.cp.min_points_per_centroid = 1  # without this FAISS prints a warning for few codes
    size = min(len(index), SAMPLE * lists)
    inner.train(index.codes[np.random.default_rng(0).choice(len(index), size, replace=False)])
    inner.nprobe = max(1, lists // 16)
    return inner


def from_faiss(
    faiss_index: Any, ids: Iterable[Any] | None = None, model: str = "", sha256: str = ""
) -> HashIndex:
    """Convert a FAISS index (flat, ``ivf`` or ``hnsw``, with or without ids) to a HashIndex.

    Args:
        faiss_index: an ``IndexBinary`` of FAISS.
        ids: one id per code, in the order of the codes; None: the ids of FAISS, or the row numbers.
        model, sha256: the model of the codes, as in :class:`~derefl.HashIndex`. FAISS
            does not store the model.

    Returns:
        An index in the order of insertion into FAISS. An ``ivf`` without an ID map has no such
        order: its codes are sorted by id.

    Raises:
        MissingExtraError: faiss is not installed.
        ConfigError: derefl has no codes of this length.
        HashIndexError: another kind of index, or wrong ids.
    """
    index = HashIndex(faiss_index.d, model, sha256)
    codes, numbers = contents(faiss_index)
    index.add(codes, numbers if ids is None else ids)
    return index


def contents(faiss_index: Any) -> tuple[Codes, NDArray[np.int64]]:
    """Codes ``[n bits/8]`` and ids ``[n]`` of a FAISS index."""
    faiss = import_faiss()
    within = faiss.downcast_IndexBinary(faiss_index)
    if isinstance(within, faiss.IndexBinaryIDMap | faiss.IndexBinaryIDMap2):
        codes, rows = contents(within.index)
        return codes, faiss.vector_to_array(within.id_map)[rows]
    if isinstance(within, faiss.IndexBinaryIVF):
        return contents_of_lists(within)
    if isinstance(within, faiss.IndexBinaryHNSW):
        return contents(within.storage)
    if isinstance(within, faiss.IndexBinaryFlat):
        codes = faiss.vector_to_array(within.xb).reshape(within.ntotal, within.code_size)
        return codes, np.arange(within.ntotal)
    raise HashIndexError(
        f"got a FAISS index of the kind {type(within).__name__}, expected IndexBinaryFlat, "
        "IndexBinaryIVF or IndexBinaryHNSW, with IndexBinaryIDMap around it or without; export "
        "one of these"
    )


def contents_of_lists(ivf: "faiss.IndexBinaryIVF") -> tuple[Codes, NDArray[np.int64]]:
    """Codes and ids of all lists, sorted by id."""
    faiss = import_faiss()
    codes, ids = [np.empty((0, ivf.code_size), np.uint8)], [np.empty(0, np.int64)]
    for number in range(ivf.nlist):
        size = ivf.invlists.list_size(number)
        if size:  # copies: FAISS owns the memory
            shown = faiss.rev_swig_ptr(ivf.invlists.get_codes(number), size * ivf.code_size)
            codes.append(shown.reshape(size, ivf.code_size).copy())
            ids.append(faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size).copy())
    order = np.argsort(np.concatenate(ids), kind="stable")
    return np.concatenate(codes)[order], np.concatenate(ids)[order]


def export_faiss(
    index: HashIndex, path: str | Path, kind: Kind = "flat", **options: Any
) -> "faiss.IndexBinaryIDMap2":
    """Write the codes to a FAISS file, and the rest of the index to ``PATH.json``.

    The rest is the model, its sha256, ``extra``, and the ids if FAISS cannot store them. Existing
    files are replaced. The options and errors are those of :func:`to_faiss`.

    Raises:
        OutputError: a file cannot be written.
    """
    faiss = import_faiss()
    result = to_faiss(index, kind, **options)
    ids = index.ids if index.integer_ids is None else None
    side = Side(index.model, index.sha256, ids, index.extra)
    write_file(side_file(path), json.dumps(msgspec.to_builtins(side)).encode())
    with atomic_file(path) as file:
        faiss.write_index_binary(result, faiss.PyCallbackIOWriter(file.write))
    return result


def import_faiss_file(path: str | Path) -> HashIndex:
    """Read a binary index of FAISS, and ``PATH.json`` if there is one.

    FAISS does few checks when it reads a file: open only files from sources you trust. The other
    errors are those of :func:`from_faiss`.

    Raises:
        HashIndexError: the file cannot be read, or is not a binary index.
    """
    faiss = import_faiss()
    try:
        with Path(path).open("rb") as file:  # FAISS itself opens only names of valid UTF-8
            found = faiss.read_index_binary(faiss.PyCallbackIOReader(file.read))
    except (OSError, RuntimeError) as error:
        raise HashIndexError(
            f"{path} cannot be read as a binary index of FAISS ({error}); name a file that "
            "faiss.write_index_binary wrote"
        ) from error
    side, beside = Side("", "", None, {}), side_file(path)
    try:
        if beside.exists():
            side = msgspec.convert(json.loads(beside.read_bytes()), Side)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise HashIndexError(f"{beside} is damaged ({error}); export the index again") from error
    index = from_faiss(found, side.ids, side.model, side.sha256)
    index.extra = side.extra
    return index


def side_file(path: str | Path) -> Path:
    """The path of the side file."""
    path = Path(path)
    return path.with_name(path.name + ".json")


def import_faiss() -> Any:
    """Import faiss; a MissingExtraError if it is not installed."""
    with needs("faiss-cpu", "faiss", "a FAISS index"):
        import faiss
    return faiss
