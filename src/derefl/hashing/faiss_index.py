"""To FAISS's binary indexes and back: for approximate search, and for what else reads them.

Both compare the same bytes, so distances are the same. The exact kind, ``flat``, gives the same
neighbours too, but of equally near ones FAISS promises no order.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from derefl.errors import ConfigError, HashIndexError, MissingExtraError
from derefl.files import atomic_file, write_file
from derefl.hashing.codes import Codes
from derefl.hashing.index import HashIndex

if TYPE_CHECKING:
    import faiss

Kind = Literal["flat", "ivf", "hnsw"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SIDE_FILE = {"model": str, "sha256": str, "ids": list | None, "extra": dict}
"""What stands beside a FAISS file, and the types."""

SAMPLE = 64
"""Codes a list that the centres of the lists are learned from."""


def to_faiss(
    index: HashIndex, kind: Kind = "flat", *, lists: int | None = None, links: int = 16
) -> "faiss.IndexBinaryIDMap2":
    """The codes as a FAISS index, with the ids of the index if all are integers of 64 bits.

    FAISS has no other ids. Of any other index it gets the row numbers: ``index.ids[row]``.

    How far an approximate search looks is set on what is within, ``faiss.downcast_IndexBinary(
    result.index)``: ``nprobe`` of ``ivf``, here a 16th of the lists; ``hnsw.efSearch`` of ``hnsw``,
    here 64.

    Args:
        index: the codes.
        kind: ``flat`` is exact; ``ivf`` looks into the lists whose centres are near; ``hnsw``
            follows links from code to code.
        lists: of ``ivf``; None means the square root of the number of codes.
        links: of ``hnsw``, a code's.

    Raises:
        MissingExtraError: faiss is not installed.
        ConfigError: no such kind, or lists or links that cannot be.
        HashIndexError: ``ivf`` of fewer codes than lists, which cannot be learned.
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
    """Empty lists with centres learned from some of the codes."""
    faiss = import_faiss()
    if len(index) < lists or len(index) == 0:
        raise HashIndexError(
            f"got {len(index)} codes for {lists} lists, expected at least one code a list; choose "
            "fewer lists, or the kind flat"
        )
    inner = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(index.bits), index.bits, lists)
    inner.cp.min_points_per_centroid = 1  # else it complains of few codes, on the terminal
    size = min(len(index), SAMPLE * lists)
    inner.train(index.codes[np.random.default_rng(0).choice(len(index), size, replace=False)])
    inner.nprobe = max(1, lists // 16)
    return inner


def from_faiss(
    faiss_index: Any, ids: Iterable[Any] | None = None, model: str = "", sha256: str = ""
) -> HashIndex:
    """The codes of a FAISS index: flat, ``ivf`` or ``hnsw``, with ids or without.

    Args:
        faiss_index: an ``IndexBinary`` of FAISS.
        ids: an id a code, in their order; None means those of FAISS, row numbers if it has none.
        model, sha256: what made the codes, as :class:`~derefl.hashing.index.HashIndex` wants it;
            FAISS does not know.

    Returns:
        An index in the order in which codes were added to FAISS; an ``ivf`` without an ID map in
        that of its ids, since it knows no other.

    Raises:
        MissingExtraError: faiss is not installed.
        ConfigError: codes of a length that there is not here.
        HashIndexError: another kind of index, or ids that do not fit.
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
    """Codes and ids of all lists, in the order of the ids."""
    faiss = import_faiss()
    codes, ids = [np.empty((0, ivf.code_size), np.uint8)], [np.empty(0, np.int64)]
    for number in range(ivf.nlist):
        size = ivf.invlists.list_size(number)
        if size:  # copies: FAISS owns what it shows
            shown = faiss.rev_swig_ptr(ivf.invlists.get_codes(number), size * ivf.code_size)
            codes.append(shown.reshape(size, ivf.code_size).copy())
            ids.append(faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size).copy())
    order = np.argsort(np.concatenate(ids), kind="stable")
    return np.concatenate(codes)[order], np.concatenate(ids)[order]


def export_faiss(
    index: HashIndex, path: str | Path, kind: Kind = "flat", **options: Any
) -> "faiss.IndexBinaryIDMap2":
    """Write the codes as a FAISS file, and beside it ``PATH.json``: what FAISS has no place for.

    That is the model, its sha256, ``extra``, and the ids unless FAISS has them.

    Args:
        index, kind, options: as in :func:`to_faiss`.
        path: a file; it is replaced if it is there.

    Returns:
        What was written.

    Raises:
        OutputError: the file cannot be written; besides, as :func:`to_faiss`.
    """
    faiss = import_faiss()
    result = to_faiss(index, kind, **options)
    about = {
        "model": index.model,
        "sha256": index.sha256,
        "ids": index.ids if index.integer_ids is None else None,
        "extra": index.extra,
    }
    write_file(side_file(path), json.dumps(about).encode())
    with atomic_file(path) as file:
        faiss.write_index_binary(result, faiss.PyCallbackIOWriter(file.write))
    return result


def import_faiss_file(path: str | Path) -> HashIndex:
    """Read a binary index of FAISS, and ``PATH.json`` if it is there.

    FAISS checks little of what it reads: do not open files of people you do not trust.

    Raises:
        HashIndexError: it cannot be read, or is no binary index; besides, as :func:`from_faiss`.
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
    about = read_side_file(side_file(path))
    index = from_faiss(found, about["ids"], about["model"], about["sha256"])
    index.extra = about["extra"]
    return index


def read_side_file(path: Path) -> dict[str, Any]:
    """What FAISS has no place for; as of an index of no particular model if it is not there."""
    about: dict[str, Any] = {"model": "", "sha256": "", "ids": None, "extra": {}}
    if not path.exists():
        return about
    try:
        about = {**json.loads(path.read_text())}
        wrong = [name for name, kind in SIDE_FILE.items() if not isinstance(about[name], kind)]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise HashIndexError(f"{path} is damaged ({error}); export the index again") from error
    if wrong:
        raise HashIndexError(
            f"{path} is damaged: {wrong[0]!r} is of the wrong type; export the index again"
        )
    return about


def side_file(path: str | Path) -> Path:
    """Where the things are that FAISS has no place for."""
    path = Path(path)
    return path.with_name(path.name + ".json")


def import_faiss() -> Any:
    """The module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingExtraError("faiss-cpu", "faiss", "a FAISS index") from error
    return faiss
