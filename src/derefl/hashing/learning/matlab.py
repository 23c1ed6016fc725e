"""MIRFlickr-25K, IAPR TC-12 and NUS-WIDE, in the common ``.mat`` layouts of hashing papers.

One file, or a folder of files with one variable each, with the names of :data:`FIELDS`. MATLAB's
format 5 and its HDF5 format 7.3 are supported, also with sparse matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from derefl.errors import ConfigError, DataError, needs

if TYPE_CHECKING:
    from derefl.hashing.hasher import Hasher

BENCHMARKS = {
    "mirflickr25k": (24, 38),
    "iapr-tc12": (255, 275),
    "nus-wide": (10, 21, 81),
}
"""The data sets, and the numbers of classes of their versions."""

FIELDS = {
    "images": ("images", "IAll", "XAll", "I"),
    "texts": ("tags", "texts", "YAll", "T"),
    "labels": ("labels", "LAll", "L"),
}
"""The names of each variable: those of DCMH (``IAll`` pictures, ``XAll`` features), plain ones, and
those of SCM, LEMON and DOCH, which come in two parts: ``I_tr`` and ``I_te``."""


@dataclass(frozen=True)
class MatData:
    """A data set as arrays; row i of each array is one item.

    Attributes:
        images: features ``[n d]`` or pictures ``[n 3 h w]``, in the type of the file.
        texts: word counts or text features ``[n d]``.
        labels: bool ``[n classes]``.
        test: bool ``[n]``, the test part of the file; None if the file has none.
    """

    images: np.ndarray
    texts: np.ndarray
    labels: np.ndarray
    test: np.ndarray | None

    def with_features(self, load: Callable[[], "Hasher"]) -> "MatData":
        """The same data with features instead of pictures; only pictures need the hasher."""
        if self.images.ndim == 2:
            return self
        rows = (picture.transpose(1, 2, 0).astype(np.uint8) for picture in self.images)
        return replace(self, images=load().image_features(map(Image.fromarray, rows)))


def read_mat(source: str | Path, benchmark: str) -> MatData:
    """Read a data set and check that its parts fit together.

    Args:
        source: the ``.mat`` file, or a folder with one file per variable.
        benchmark: one of :data:`BENCHMARKS`.

    Raises:
        ConfigError: the benchmark does not exist.
        DataError: unreadable, a variable is missing, or numbers of rows or classes do not fit.
        MissingExtraError: scipy or h5py is not installed.
    """
    if benchmark not in BENCHMARKS:
        raise ConfigError(f"got benchmark {benchmark!r}, expected one of {', '.join(BENCHMARKS)}")
    source = Path(source)
    found = read_variables(source)
    parts = []
    for suffixes in (("",), ("_tr", "_te")):
        chosen = {
            field: [next((found[n + s] for n in names if n + s in found), None) for s in suffixes]
            for field, names in FIELDS.items()
        }
        if all(value is not None for values in chosen.values() for value in values):
            parts = [aligned(benchmark, *arrays) for arrays in zip(*chosen.values(), strict=True)]
    if not parts:
        names = "; ".join(f"{field}: {', '.join(known)}" for field, known in FIELDS.items())
        raise DataError(
            f"{source} has the variables {', '.join(sorted(found)) or '(none known)'}, expected "
            f"one of each kind ({names}), or I_tr, T_tr, L_tr, I_te, T_te and L_te"
        )
    for name, *arrays in zip(FIELDS, *parts, strict=True):
        if len({array.shape[1:] for array in arrays}) > 1:
            shapes = " and ".join(str(array.shape[1:]) for array in arrays)
            raise DataError(
                f"{source}: the {name} of the two parts have rows of the shapes {shapes}, expected "
                "one shape; get the file again"
            )
    images, texts, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    test = np.arange(len(labels)) >= len(parts[0][2]) if len(parts) > 1 else None
    return MatData(images, texts, labels, test)


def aligned(
    benchmark: str, images: np.ndarray, texts: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three arrays with items along the first axis, and labels as bool ``[n classes]``.

    The axis of the items differs between files. For the labels, the number of classes decides; for
    the others, the number of items.
    """
    classes = BENCHMARKS[benchmark]
    if labels.ndim == 2 and labels.shape[1] not in classes:
        labels = labels.T
    if labels.ndim != 2 or labels.shape[1] not in classes:
        raise DataError(
            f"got labels of shape {labels.shape}, expected [n, classes] with "
            f"{' or '.join(map(str, classes))} classes for {benchmark}; check the data set"
        )
    if not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"got {np.setdiff1d(labels, (0, 1))[0]} among the labels, expected only 0 and 1; store "
            "one column for each class"
        )
    n = len(labels)
    if images.ndim == 4 and images.shape[0] != n and images.shape[3] == n:
        images = images.transpose(3, 2, 0, 1)  # MATLAB's [h w 3 n]
    elif images.ndim == 4 and images.shape[3] == 3:
        images = images.transpose(0, 3, 1, 2)
    images, texts = (x.T if x.ndim == 2 and len(x) != n else x for x in (images, texts))
    picture = images.ndim == 4 and images.shape[1] == 3
    if not (picture or images.ndim == 2) or texts.ndim != 2 or {len(images), len(texts)} != {n}:
        raise DataError(
            f"got images of shape {images.shape} and texts of shape {texts.shape} for {n} rows of "
            "labels, expected [n, d] or [n, 3, h, w], and [n, d], with the same n"
        )
    for name, array in (("images", images), ("texts", texts)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"the {name} contain NaN or infinity; get the file again")
    return images, texts, labels.astype(bool)


def read_variables(source: Path) -> dict[str, np.ndarray]:
    """The known variables in the file, or in all ``.mat`` files of the folder."""
    files = sorted(source.glob("*.mat")) if source.is_dir() else [source]
    if not files or not files[0].is_file():
        raise DataError(f"{source} is not a .mat file and not a folder with .mat files")
    names = {n + s for known in FIELDS.values() for n in known for s in ("", "_tr", "_te")}
    found: dict[str, np.ndarray] = {}
    for path in files:
        for name, array in read_mat_file(path, names).items():
            if name in found:
                raise DataError(
                    f"{source} has the variable {name} in two files, one is {path.name}; name a "
                    "folder with one data set, or one file"
                )
            found[name] = array
    return found


def read_mat_file(path: Path, names: set[str]) -> dict[str, np.ndarray]:
    """The named numeric variables of one file, with axes in MATLAB's order."""
    with needs("h5py", "train", "reading .mat files"):
        import h5py
    with needs("scipy", "train", "reading .mat files"):
        from scipy import io, sparse

    def dense(value: Any) -> np.ndarray:
        array = np.asarray(value.toarray() if sparse.issparse(value) else value)
        if array.dtype.kind not in "buif":
            raise DataError(
                f"got {array.dtype} in {path}, expected numbers; file names and cell arrays cannot "
                "be read, store the pictures or features themselves"
            )
        return array

    def from_hdf5(entry: Any) -> np.ndarray:
        if isinstance(entry, h5py.Dataset):
            return dense(entry[()]).T  # HDF5 reverses MATLAB's axes
        columns = entry["jc"][()]
        shape = (int(entry.attrs["MATLAB_sparse"]), len(columns) - 1)
        # A matrix of zeros has no data and no ir.
        data, rows = (entry[key][()] if key in entry else np.empty(0) for key in ("data", "ir"))
        return dense(sparse.csc_matrix((data, rows, columns), shape))

    try:
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                return {name: from_hdf5(file[name]) for name in names & set(file)}
        content = io.loadmat(path, variable_names=sorted(names))
        return {name: dense(content[name]) for name in names & set(content)}
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise DataError(f"{path} cannot be read as a .mat file ({error}); get it again") from error
