"""The functions of the tabs, without a browser.

Each test imports its own functions: only one process of pytest-xdist has to import gradio, which
takes seconds.
"""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from derefl.errors import ImageError
from derefl.hashing.index.hash_index import HashIndex
from derefl.imaging.compare import BLANK
from derefl.imaging.files import open_picture
from derefl.reflection import any_size
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
    from derefl.web.remove_tab import downloads

    layers = tiny.separate(picture(kind))
    clean, layer = downloads(layers, picture(kind), name, tmp_path)
    assert Path(clean.value["path"]).name == written
    assert Path(layer.value["path"]).name == written.replace("clean", "reflection")
    for button, part in ((clean, layers.transmission), (layer, layers.reflection)):
        assert button.interactive
        if not written.endswith(".webp"):
            assert same_pixels(open_picture(button.value["path"]), part)


@pytest.mark.parametrize("size", [(160, 140), (240, 210)])
def test_the_network_runs_once_per_photo(tiny, monkeypatch, size):
    from derefl.web.remove_tab import CachedRemover

    monkeypatch.setattr(any_size, "LARGER", 160 * 140)  # the larger photo is scaled down
    monkeypatch.setattr(any_size, "SMALLER", 80 * 70)
    runs, model, photo = [], CachedRemover(tiny), picture("RGB", size)
    tiny.network.register_forward_pre_hook(lambda *_: runs.append(1))
    _, weak, none = (model.separate(photo, strength=strength) for strength in (1, 0.3, 0))
    assert len(runs) == 2  # in two sizes
    assert same_pixels(weak.transmission, tiny.dereflect(photo, strength=0.3))
    assert same_pixels(none.transmission, photo)


def test_a_mask_has_soft_edges_and_any_size():
    from derefl.web.painter import mask_of

    strokes = Image.new("RGBA", (400, 300))
    strokes.paste((255, 0, 0, 255), (0, 0, 200, 300))
    strokes.save(file := io.BytesIO(), "PNG")
    value = {"mask": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"}
    mask = mask_of(value, (4000, 3000))
    assert (mask.size, mask.mode) == ((4000, 3000), "L")
    row = np.asarray(mask)[1500].astype(int)
    assert (row[:1900] == 255).all() and (row[2100:] == 0).all()
    assert (np.diff(row) <= 0).all() and len(np.unique(row)) > 20
    assert mask_of(None, (4, 3)) is None
    assert mask_of({"photo": "…", "mask": None}, (4, 3)) is None
    with pytest.raises(ImageError, match="press Clear"):
        mask_of({"mask": "data:image/png;base64,AAAA"}, (4, 3))


def test_found_photos_open_at_full_size(tmp_path):
    import gradio as gr

    from derefl.web.search_tab import Searchable, hits
    from derefl.web.shown import sentences

    Image.new("RGB", (900, 30), "red").save(tmp_path / "there.png")
    Image.new("RGB", (2000, 30), "red").save(tmp_path / "caf\udce9.tif")
    index = HashIndex(16)
    index.add(
        np.array([[0, 0], [0, 7], [1, 0]], np.uint8), ["there.png", "gone.png", "caf\udce9.tif"]
    )
    (tmp_path / "copies").mkdir()
    code = np.zeros(2, np.uint8)
    (there, tiff, gone), gallery = hits(Searchable(tmp_path, index), code, tmp_path / "copies")
    assert [text for _, text in gallery] == ["0: there.png", "1: caf�.tif", "3: gone.png"]
    sizes = [open_picture(file).size for file, _ in gallery]
    assert sizes[:2] == [(640, 21), (640, 10)]
    assert np.abs(np.asarray(open_picture(gone.file), int) - BLANK).max() <= 1

    for shown in (there, tiff, there):
        shown.enlarge()
    assert there.file.name == "there.png"
    assert there.file.read_bytes() == (tmp_path / "there.png").read_bytes()
    assert tiff.file.name == "caf�.jpg"
    assert open_picture(tiff.file).size == (2000, 30)
    with pytest.raises(gr.Error, match="No such file"), sentences():
        gone.enlarge()


def test_a_folder_with_broken_files_is_indexed(hasher, tmp_path):
    from derefl.web.search_tab import index_folder, index_report

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
    import gradio as gr

    from derefl.web.search_tab import index_folder
    from derefl.web.shown import sentences

    with pytest.raises(gr.Error) as error, sentences():
        index_folder(text, hasher, print)
    assert words in error.value.message
    assert error.value.duration is None


def test_sentences_hide_where_an_upload_lies_and_are_no_html(tmp_path):
    import gradio as gr

    from derefl.web.shown import sentences

    path = str(tmp_path / "<i>.jpg")
    with pytest.raises(gr.Error) as error, sentences(path):
        open_picture(path)
    assert error.value.message.startswith("&lt;i&gt;.jpg: there is no such file")
    with pytest.raises(ZeroDivisionError), sentences(path):
        _ = 1 / 0  # visitors must not see an internal error
