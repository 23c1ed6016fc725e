"""Readers of captions, labels and .mat files, and their errors."""

import sys

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy import io, sparse

from derefl.errors import ConfigError, DataError, MissingExtraError
from derefl.hashing.learning.captions import read_captions
from derefl.hashing.learning.labelled import read_labelled, split_queries
from derefl.hashing.learning.matlab import read_mat
from derefl.hashing.learning.streams import labelled_stream
from tests.hashing.fake import FakeHasher


@pytest.fixture
def folder(tmp_path):
    """A folder of pictures a.png, b.c.webp and sub/d.JPG."""
    for name in ("a.png", "b.c.webp", "sub/d.JPG"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    return tmp_path / "images"


def write(folder, name, text):
    path = folder.parent / name
    path.write_text(text, encoding="utf-8")
    return path


CAPTIONS = """image,caption
a,one
b.c.webp,"two, with a comma"
a.png,three
sub/d,
"""


def test_captions_keep_their_pictures(folder):
    data = read_captions(folder, write(folder, "captions.csv", CAPTIONS))
    assert data.names == ("a", "b.c", "sub/d")
    assert [p.name for p in data.paths] == ["a.png", "b.c.webp", "d.JPG"]
    assert data.captions == ("one", "three", "two, with a comma", "")
    assert data.rows.tolist() == [0, 0, 1, 2]


def test_a_split_chooses_and_orders(folder):
    split = write(folder, "split.txt", "b.c\n\na.png\n")
    data = read_captions(folder, write(folder, "captions.csv", CAPTIONS), split)
    assert data.names == ("b.c", "a")
    assert data.captions == ("two, with a comma", "one", "three")
    assert data.rows.tolist() == [0, 1, 1]


def test_a_spreadsheets_byte_order_mark_and_spare_columns_pass(folder):
    table = write(folder, "captions.csv", "\ufeffimage, caption ,id\na,one,7\n")
    data = read_captions(folder, table, write(folder, "split.txt", "\ufeffa\n"))
    assert (data.names, data.captions) == (("a",), ("one",))


@pytest.mark.parametrize(
    ("table", "split", "message"),
    [
        ("image,text\na,one\n", None, "image, text, expected also 'caption'"),
        ("", None, r"columns \(none\)"),
        ("image,caption\n", None, "no row below its header"),
        ("image,caption\na,one, two\n", None, "line 2: expected one field for each column"),
        ("image,caption\na,x\nb\n", None, "line 3: expected one field for each column"),
        ("image,caption\na,x\nz,y\n", None, "1 of 2 names have no picture in .*, the first is 'z'"),
        ("image,caption\na,x\n", "a\nb.c\n", "1 of 2 names have no row in .* 'b.c'"),
        (
            "image,caption\na,x\nz,x\n",
            "a\nz\n",
            "1 of 2 names have no picture in .*, the first is 'z'",
        ),
        ("image,caption\na,x\n", "\n", "split.txt is empty"),
        ("image,caption\na,x\n", "a\na.png\n", "names 'a' twice"),
    ],
)
def test_captions_that_do_not_fit(folder, table, split, message):
    table = write(folder, "captions.csv", table)
    split = split if split is None else write(folder, "split.txt", split)
    with pytest.raises(DataError, match=message):
        read_captions(folder, table, split)


def test_captions_that_are_not_there(folder, tmp_path):
    table = write(folder, "captions.csv", CAPTIONS)
    with pytest.raises(DataError, match="nowhere is not a folder"):
        read_captions(tmp_path / "nowhere", table)
    with pytest.raises(DataError, match=r"none\.csv cannot be read"):
        read_captions(folder, tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"none\.txt cannot be read"):
        read_captions(folder, table, tmp_path / "none.txt")
    table.write_bytes(b"image,caption\na,caf\xe9\n")
    with pytest.raises(DataError, match="expected a csv file in UTF-8"):
        read_captions(folder, table)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        read_captions(tmp_path / "empty", write(folder, "captions.csv", CAPTIONS))
    Image.new("RGB", (4, 4)).save(folder / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg and a\.png are both the picture 'a'"):
        read_captions(folder, write(folder, "captions.csv", CAPTIONS))


def test_themes_as_in_corel5k(folder):
    table = write(folder, "tags.csv", "image,theme,tags\na,10,sky sun\nb.c,2,sea\nsub/d,10,\n")
    data = read_labelled(folder, table)
    assert data.texts == ("sky sun", "sea", "")
    assert data.classes == ("10", "2")
    assert data.labels.tolist() == [[True, False], [False, True], [True, False]]
    assert data.themes == ("10", "2", "10")


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (("sky sea", "sea", "dog sky"), ("dog", "sea", "sky")),
        (("blue sky; sea", "sea", "dog;blue sky"), ("blue sky", "dog", "sea")),
    ],
)
def test_labels_by_spaces_or_semicolons(folder, cells, classes):
    rows = [f"{name},text,{cell}" for name, cell in zip(("a", "b.c", "sub/d"), cells, strict=True)]
    table = write(folder, "labels.csv", "\n".join(["image,caption,labels", *rows]))
    data = read_labelled(folder, table)
    assert data.classes == classes and data.themes is None
    sea = classes.index("sea")
    assert data.labels[:, sea].tolist() == [True, True, False]
    assert data.labels.sum(axis=1).tolist() == [2, 1, 2]
    part = read_labelled(folder, table, write(folder, "split.txt", "b.c\n"))
    assert part.classes == classes and part.labels.tolist() == [data.labels[1].tolist()]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,tags\na,sky\n", "expected one of labels, theme"),
        ("image,theme\na,1\n", "expected one of caption, text, tags"),
        ("name,theme,tags\na,1,sky\n", "expected also 'image'"),
        ("image,theme,tags\na,1,sky\na.png,2,sea\n", "two rows for 'a'"),
        ("image,theme,tags\na,,sky\n", "'a' has nothing in the column 'theme'"),
        ("image,labels,tags\na,;,sky\n", "'a' has nothing in the column 'labels'"),
    ],
)
def test_labels_that_do_not_fit(folder, table, message):
    with pytest.raises(DataError, match=message):
        read_labelled(folder, write(folder, "labels.csv", table))
    good = write(folder, "good.csv", "image,theme,tags\na,1,sky\n")
    with pytest.raises(DataError, match=r"1 of 2 names have no row in .* 'b\.c'"):
        read_labelled(folder, good, write(folder, "split.txt", "a\nb.c\n"))


def test_queries_are_drawn_by_the_seed():
    split = split_queries(100, 30, seed=5)
    assert sorted([*split.queries, *split.database]) == list(range(100))
    assert len(split.queries) == 30
    assert np.array_equal(split.queries, split_queries(100, 30, seed=5).queries)
    assert not np.array_equal(split.queries, split_queries(100, 30, seed=6).queries)
    assert len(split_queries(100).queries) == 10
    # The draw must be the same on every machine, for published splits.
    assert split_queries(10, 3, seed=0).queries.tolist() == [2, 4, 6]
    for count in (0, 100, 101):
        with pytest.raises(ConfigError, match="set --queries"):
            split_queries(100, count)


# .mat files


def arrays(n=12, classes=24):
    """Pictures [n 3 4 5], word counts [n 9], labels [n classes], no two rows alike."""
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, 3, 4, 5), dtype=np.uint8)
    return images, rng.integers(0, 3, (n, 9)).astype(float), rng.random((n, classes)) < 0.3


def save_v5(path, **variables):
    io.savemat(path, {k: v.astype(float) if v.dtype == bool else v for k, v in variables.items()})


def save_v73(path, **variables):
    """In MATLAB's format: axes reversed, sparse matrices as groups of columns."""
    with h5py.File(path, "w") as file:
        for name, value in variables.items():
            if sparse.issparse(value):
                value = value.tocsc()
                group = file.create_group(name)
                group.attrs["MATLAB_sparse"] = value.shape[0]
                group["jc"] = value.indptr
                if value.nnz:
                    group["data"], group["ir"] = value.data, value.indices
            else:
                file[name] = value.T.astype(float) if value.dtype == bool else value.T


SAVE = pytest.mark.parametrize("save", [save_v5, save_v73])


def same(data, images, texts, labels):
    assert np.array_equal(data.images, images) and data.images.dtype == images.dtype
    assert np.array_equal(data.texts, texts)
    assert np.array_equal(data.labels, labels) and data.labels.dtype == bool


@SAVE
@pytest.mark.parametrize("order", [(2, 3, 1, 0), (0, 1, 2, 3), (0, 2, 3, 1)])
def test_one_file_of_pictures(tmp_path, save, order):
    """DCMH's FLICKR-25K.mat has MATLAB's [h w 3 n] pictures, YAll, LAll; others begin with n."""
    images, texts, labels = arrays()
    save(tmp_path / "F.mat", IAll=images.transpose(order), YAll=texts, LAll=labels)
    data = read_mat(tmp_path / "F.mat", "mirflickr25k")
    same(data, images, texts, labels)
    assert data.test is None
    hasher = FakeHasher()
    features = data.with_features(lambda: hasher).images
    assert features.shape == (12, 4) and hasher.calls == 12


@SAVE
def test_a_folder_with_a_file_a_variable_and_turned_matrices(tmp_path, save):
    _, texts, labels = arrays(n=12, classes=21)
    features = np.random.default_rng(0).normal(size=(12, 7))
    save(tmp_path / "nus-wide-tc21-xall-vgg.mat", XAll=features.T)
    save(tmp_path / "nus-wide-tc21-yall.mat", YAll=texts.T)
    save(tmp_path / "nus-wide-tc21-lall.mat", LAll=labels.T, param=np.zeros((3, 1)))
    data = read_mat(tmp_path, "nus-wide")
    same(data, features, texts, labels)
    assert data.with_features(FakeHasher) is data


@SAVE
def test_plain_names_and_sparse_matrices(tmp_path, save):
    _, texts, labels = arrays(classes=255)
    features = np.random.default_rng(0).normal(size=(12, 7)).astype(np.float32)
    save(tmp_path / "images.mat", images=features)
    save(tmp_path / "labels.mat", labels=sparse.csc_matrix(labels.astype(float)))
    for counts in (texts, np.zeros((12, 9))):  # without entries, format 7.3 has no data
        save(tmp_path / "tags.mat", tags=sparse.csc_matrix(counts))
        same(read_mat(tmp_path, "iapr-tc12"), features, counts, labels)


@SAVE
def test_a_file_with_its_own_test_part(tmp_path, save):
    (_, t1, l1), (_, t2, l2) = arrays(12, 10), arrays(5, 10)
    i1, i2 = np.ones((12, 7)), np.zeros((5, 7))
    save(tmp_path / "N.mat", I_tr=i1, T_tr=t1, L_tr=l1, I_te=i2, T_te=t2, L_te=l2)
    data = read_mat(tmp_path / "N.mat", "nus-wide")
    parts = zip((i1, t1, l1), (i2, t2, l2), strict=True)
    same(data, *map(np.concatenate, parts))
    assert data.test.tolist() == [False] * 12 + [True] * 5
    stream = labelled_stream(data, queries=2)
    assert not np.any(stream.queries.images) and len(stream.queries.images) == 2
    assert [len(chunk.images) for chunk in stream.chunks] == [12]


SPLIT = {"I_tr": np.ones((5, 7)), "T_tr": np.ones((5, 3)), "L_tr": np.ones((5, 24))} | {
    "I_te": np.ones((5, 8)),
    "T_te": np.ones((5, 3)),
    "L_te": np.ones((5, 24)),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"YAll": None}, "has the variables LAll, images, expected one of each kind"),
        ({"images": None, "YAll": None, "LAll": None}, r"the variables \(none known\)"),
        ({"LAll": np.ones((12, 7))}, r"labels of shape \(7, 12\), expected .* 24 or 38"),
        ({"LAll": np.full((12, 24), 2.0)}, "got 2.0 among the labels"),
        ({"LAll": np.ones((11, 24))}, r"texts of shape .* for 11 rows of labels"),
        ({"YAll": np.ones((11, 9))}, r"texts of shape .* for 12 rows of labels"),
        ({"images": np.ones((12, 4, 4, 5))}, r"images of shape \(12, 4, 4, 5\)"),
        ({"YAll": np.full((12, 9), np.nan)}, "the texts contain NaN"),
        (SPLIT | {"YAll": None}, r"the images .* of the shapes \(7,\) and \(8,\)"),
    ],
)
def test_mat_files_that_do_not_fit(tmp_path, change, message):
    images, texts, labels = arrays()
    variables = {"images": images, "YAll": texts, "LAll": labels, "other": np.ones((1, 1))} | change
    save_v5(tmp_path / "F.mat", **{k: v for k, v in variables.items() if v is not None})
    with pytest.raises(DataError, match=message):
        read_mat(tmp_path / "F.mat", "mirflickr25k")


def test_mat_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="expected one of mirflickr25k, iapr-tc12, nus-wide"):
        read_mat(tmp_path, "wiki")
    for path in (tmp_path, tmp_path / "none.mat"):
        with pytest.raises(DataError, match=r"not a \.mat file and not a folder"):
            read_mat(path, "nus-wide")
    (tmp_path / "bad.mat").write_bytes(b"not a matrix" * 100)
    with pytest.raises(DataError, match=r"bad\.mat cannot be read as a \.mat file"):
        read_mat(tmp_path / "bad.mat", "nus-wide")
    names = np.array(["im1.jpg", "im2.jpg"], dtype=object)
    io.savemat(tmp_path / "bad.mat", {"images": names})
    with pytest.raises(DataError, match="file names and cell arrays cannot be read"):
        read_mat(tmp_path / "bad.mat", "nus-wide")
    save_v5(tmp_path / "more.mat", YAll=np.ones((2, 2)))
    save_v5(tmp_path / "bad.mat", YAll=np.ones((2, 2)))
    with pytest.raises(DataError, match=r"YAll in two files, one is more\.mat"):
        read_mat(tmp_path, "nus-wide")
    for package in ("scipy", "h5py"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=r'pip install "derefl\[train\]"'):
            read_mat(tmp_path / "more.mat", "nus-wide")
