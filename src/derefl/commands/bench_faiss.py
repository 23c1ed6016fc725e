"""FAISS beside our index, for ``derefl bench search``; needs ``derefl[faiss]``."""

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from derefl.hashing.codes import Codes
    from derefl.hashing.faiss_index import Kind
    from derefl.hashing.index import HashIndex, Hit


class Flat:
    """The exact index of FAISS, on one thread."""

    def __init__(self, codes: "Codes") -> None:
        from derefl.hashing.faiss_index import import_faiss

        faiss = import_faiss()
        faiss.omp_set_num_threads(1)
        self._index = faiss.IndexBinaryFlat(codes.shape[1] * 8)
        self._index.add(codes)

    def search(self, queries: "Codes", k: int) -> "tuple[np.ndarray, np.ndarray]":
        """Distances and rows ``[q k]``; rows are −1 where there are no more."""
        return self._index.search(queries, k)


def agree(hits: "list[list[Hit]]", distances: "np.ndarray", rows: "np.ndarray") -> bool:
    """Whether the distances are the same, and the rows too where no tie lets FAISS choose.

    A tie does so at the last distance, where FAISS may take others that are just as near.
    """
    for ours, away, theirs in zip(hits, distances.tolist(), rows.tolist(), strict=True):
        found = [pair for pair in zip(away, theirs, strict=True) if pair[1] >= 0]
        if [hit.distance for hit in ours] != [distance for distance, _ in found]:
            return False
        last = found[-1][0] if found else 0
        nearer = {(hit.distance, hit.id) for hit in ours if hit.distance < last}
        if nearer != {pair for pair in found if pair[0] < last}:
            return False
    return True


def measure_kind(index: "HashIndex", kind: "Kind", queries: "Codes") -> dict[str, Any]:
    """Seconds to build, bytes, seconds a query, and recall@10 of an approximate index."""
    from derefl.hashing.faiss_index import import_faiss, to_faiss

    faiss = import_faiss()
    faiss.omp_set_num_threads(1)
    start = time.perf_counter()
    other = to_faiss(index, kind)
    build = time.perf_counter() - start
    k = min(10, len(index))
    exact = index.search(queries, k)
    start = time.perf_counter()
    found = [other.search(query[None], k)[0][0].tolist() for query in queries]
    seconds = (time.perf_counter() - start) / len(queries)
    return {
        "kind": kind,
        "build_seconds": build,
        "bytes": len(faiss.serialize_index_binary(other)),
        "seconds": seconds,
        "recall": recall(found, exact),
    }


def recall(found: list[list[int]], exact: "list[list[Hit]]") -> float:
    """The part of the hits that are no farther than the last exact one: a tie is as good.

    Args:
        found: distances of the hits of each query.
        exact: the hits of an exact search.
    """
    good = [
        sum(distance <= hits[-1].distance for distance in distances)
        for distances, hits in zip(found, exact, strict=True)
    ]
    return sum(good) / sum(map(len, exact))
