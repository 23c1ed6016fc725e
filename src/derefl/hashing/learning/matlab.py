"""MIRFlickr-25K, IAPR TC-12 and NUS-WIDE, in the common ``.mat`` layouts of hashing papers.

There are three layouts, each as one file or as a folder of files with one variable each:

- whole (DCMH): ``images`` or ``IAll`` (pictures) or ``XAll`` (features), ``YAll``, ``LAll``;
- split (LEMON, DOCH and before them SCM): ``I_tr, T_tr, L_tr, I_te, T_te, L_te``;
- plain: ``images``, ``tags`` or ``texts``, ``labels``.

MATLAB's format 5 and its HDF5 format 7.3 are supported, also with sparse matrices.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from derefl.errors import ConfigError, DataError, MissingExtraError


@dataclass(frozen=True)
class Benchmark:
    """A data set's name and the numbers of classes of its versions."""

    name: str
    classes: tuple[int, ...]


BENCHMARKS = {
    "mirflickr25k": Benchmark("MIRFlickr-25K", (24, 38)),
    "iapr-tc12": Benchmark("IAPR TC-12", (255, 275)),
    "nus-wide": Benchmark("NUS-WIDE", (10, 21, 81)),
}
IMAGES, TEXTS, LABELS = ("images", "IAll", "XAll"), ("tags", "texts", "YAll"), ("labels", "LAll")
SPLIT = ("I_tr", "T_tr", "L_tr", "I_te", "T_te", "L_te")


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
    known = BENCHMARKS[benchmark]
    found = read_variables(source, {*IMAGES, *TEXTS, *LABELS, *SPLIT})
    if found.keys() >= set(SPLIT):
        parts = [
            aligned(found[f"I_{part}"], found[f"T_{part}"], found[f"L_{part}"], known)
            for part in ("tr", "te")
        ]
        for name, train, test in zip(("I", "T", "L"), *parts, strict=True):
            if train.shape[1:] != test.shape[1:]:
                raise DataError(
                    f"{source}: {name}_tr has rows of {train.shape[1:]}, {name}_te of "
                    f"{test.shape[1:]}; both have to be of one kind, get the file again"
                )
        images, texts, labels = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        test = np.arange(len(labels)) >= len(parts[0][2])
        return MatData(images, texts, labels, test)
    images, texts, labels = (pick(found, names, source) for names in (IMAGES, TEXTS, LABELS))
    return MatData(*aligned(images, texts, labels, known), test=None)


def pick(found: dict[str, np.ndarray], names: tuple[str, ...], source: Path) -> np.ndarray:
    """The variable with one of the names."""
    for name in names:
        if name in found:
            return found[name]
    raise DataError(
        f"{source} has {', '.join(sorted(found)) or 'none of the variables looked for'}; expected "
        f"{' or '.join(names)} beside the others, or all of {', '.join(SPLIT)}"
    )


def aligned(
    images: np.ndarray, texts: np.ndarray, labels: np.ndarray, known: Benchmark
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three arrays with items along the first axis, and labels as bool ``[n classes]``.

    The axis of the items differs between files. For the labels, the number of classes decides; for
    the others, the number of items.
    """
    if labels.ndim == 2 and labels.shape[1] not in known.classes:
        labels = labels.T
    if labels.ndim != 2 or labels.shape[1] not in known.classes:
        raise DataError(
            f"the labels are of shape {labels.shape}, expected [n, classes] with "
            f"{' or '.join(map(str, known.classes))} classes as {known.name} has; is it this set?"
        )
    if not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"the labels of {known.name} hold {np.setdiff1d(labels, (0, 1))[0]}, expected 0 and 1 "
            "only; store class membership, one column a class"
        )
    n = len(labels)
    if images.ndim == 4 and images.shape[0] != n and images.shape[3] == n:
        images = images.transpose(3, 2, 0, 1)  # MATLAB's [h w 3 n]
    elif images.ndim == 4 and images.shape[3] == 3:
        images = images.transpose(0, 3, 1, 2)
    elif images.ndim == 2 and images.shape[0] != n:
        images = images.T
    texts = texts.T if texts.ndim == 2 and texts.shape[0] != n else texts
    picture = images.ndim == 4 and images.shape[1] == 3
    if not (picture or images.ndim == 2) or texts.ndim != 2 or {len(images), len(texts)} != {n}:
        raise DataError(
            f"{known.name} has images of shape {images.shape} and texts of shape {texts.shape} for "
            f"{n} rows of labels; expected [n, d] or [n, 3, h, w], and [n, d], of one n"
        )
    for name, array in (("images", images), ("texts", texts)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"the {name} of {known.name} hold NaN or infinity; get the file again")
    return images, texts, labels.astype(bool)


def read_variables(source: Path, names: set[str]) -> dict[str, np.ndarray]:
    """The named variables in the file, or in all ``.mat`` files of the folder."""
    files = sorted(source.glob("*.mat")) if source.is_dir() else [source]
    if not files or not files[0].is_file():
        raise DataError(f"{source} is no .mat file and no folder of them; check the name")
    found: dict[str, np.ndarray] = {}
    for path in files:
        for name, array in read_file(path, names).items():
            if name in found:
                raise DataError(
                    f"{source} has the variable {name} in two files, one is {path.name}; give the "
                    "folder of one data set, or one file"
                )
            found[name] = array
    return found


def read_file(path: Path, names: set[str]) -> dict[str, np.ndarray]:
    """The named numeric variables of one file, with axes in MATLAB's order."""
    try:
        import h5py
        from scipy import io, sparse
    except ImportError as error:
        package = "h5py" if error.name == "h5py" else "scipy"
        raise MissingExtraError(package, "train", "reading .mat files") from error

    def dense(value: Any) -> np.ndarray:
        array = np.asarray(value.toarray() if sparse.issparse(value) else value)
        if array.dtype.kind not in "buif":
            raise DataError(
                f"{path} holds {array.dtype} where numbers are expected; file names and cell "
                "arrays cannot be read, store the pictures or features themselves"
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
