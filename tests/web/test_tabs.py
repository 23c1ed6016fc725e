"""The functions of the tabs, without a browser."""

import os
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from derefl.hashing.index.hash_index import HashIndex
from derefl.imaging.compare import BLANK
from derefl.imaging.files import open_picture
from derefl.web.remove_tab import separate_photo
from derefl.web.search_tab import Searchable, hits, index_folder, index_report
from derefl.web.shown import sentences
from tests.pictures import picture, same_pixels


@pytest.fixture(autouse=True)
def gradios_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "name", "written"),
    [
        ("RGB", "a.png", "a.clean.png"),
        ("RGBA", "a.webp", "a.clean.webp"),
        ("I;16", "a.tif", "a.clean.tif"),
        ("CMYK", "a.tiff", "a.clean.tiff"),
        ("RGBA", "really a png.jpg", "really a png.clean.png"),
        ("CMYK", "really a tiff.png", "really a tiff.clean.tif"),
        ("RGB", "a.b.bmp", "a.b.clean.png"),
    ],
)
def test_downloads_lose_nothing(tiny, tmp_path, kind, name, written):
    (before, after), taken, clean, layer = separate_photo(tiny, picture(kind), name, tmp_path)
    expected = tiny.separate(picture(kind))
    assert Path(clean.value["path"]).name == written
    assert Path(layer.value["path"]).name == written.replace("clean", "reflection")
    for button, part in ((clean, expected.transmission), (layer, expected.reflection)):
        assert button.interactive
        if not written.endswith(".webp"):
            assert same_pixels(open_picture(button.value["path"]), part)
    for shown in (before, after, taken):
        assert open_picture(shown).mode == "RGB"


def test_a_photo_that_went_away_is_grey(tmp_path):
    Image.new("RGB", (900, 30), "red").save(tmp_path / "there.png")
    index = HashIndex(16)
    index.add(np.array([[0, 0], [0, 7], [1, 0]], np.uint8), ["there.png", "gone.png", "caf\udce9"])
    (tmp_path / "copies").mkdir()
    code = np.zeros(2, np.uint8)
    there, no_utf8, gone = hits(Searchable(tmp_path, index), code, tmp_path / "copies")
    assert [there[1], gone[1]] == ["distance 0: there.png", "distance 3: gone.png"]
    assert no_utf8[1] == "distance 1: caf�"
    assert open_picture(there[0]).size == (640, 21)
    assert np.abs(np.asarray(open_picture(gone[0]), int) - BLANK).max() <= 1


def test_a_folder_with_broken_files_is_indexed(hasher, tmp_path):
    (tmp_path / "deep").mkdir()
    picture("RGB").save(tmp_path / "deep" / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    (tmp_path / "c.NEF").write_bytes(b"raw")
    done = []
    found, failures = index_folder(
        f" {tmp_path}/deep/.. ", hasher, lambda *count: done.append(count)
    )
    assert done == [(0, 2), (2, 2)]
    assert (found.folder, found.index.ids) == (tmp_path, ["deep/a.png"])
    code = hasher.encode_image([tmp_path / "deep" / "a.png"])
    assert np.array_equal(found.index.codes, code)
    first, second = index_report(found, failures).splitlines()
    assert first == f"1 of 2 photos in {tmp_path}; 1 passed over (1 raw)"
    assert second.startswith(f"{tmp_path}/b.jpg is not a picture")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the folder is missing; enter the path of a folder"),
        ("/nowhere", "/nowhere is not a folder"),
        ("~no-such-user", "~no-such-user is not a folder"),
        (__file__, "test_tabs.py is not a folder"),
        (os.path.dirname(__file__), "has no pictures"),  # noqa: PTH120
        ("a\0b", "not a folder"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_what_is_no_folder_is_said(hasher, text, words):
    with pytest.raises(gr.Error) as error, sentences():
        index_folder(text, hasher, print)
    assert words in error.value.message
    assert error.value.duration is None


def test_sentences_hide_where_an_upload_lies_and_are_no_html(tmp_path):
    path = str(tmp_path / "<i>.jpg")
    with pytest.raises(gr.Error) as error, sentences(path):
        open_picture(path)
    assert error.value.message.startswith("&lt;i&gt;.jpg: there is no such file")
    with pytest.raises(ZeroDivisionError), sentences(path):
        _ = 1 / 0  # visitors must not see an internal error
