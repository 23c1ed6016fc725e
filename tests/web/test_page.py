"""The page in a real browser."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from derefl.cli import main
from derefl.hashing.index.hash_index import HashIndex
from derefl.imaging.compare import panel
from derefl.imaging.files import open_picture
from tests.conftest import REPOSITORY
from tests.pictures import exif_block, icc_profile

pytestmark = pytest.mark.browser

PHOTOS = REPOSITORY / "examples" / "pictures" / "search"


def photo(path, seed=0, size=(96, 64), **options):
    """A picture of coloured blocks, whose JPEG is close to it."""
    blocks = np.random.default_rng(seed).integers(0, 256, (size[1] // 16, size[0] // 16, 3))
    pixels = np.kron(blocks, np.ones((16, 16, 1))).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=95, **options)
    return path


def drop(page, label, path):
    """Drop a file on the field with this name."""
    field = page.locator(".block").filter(has=page.get_by_text(label, exact=True))
    field.locator("input[type=file]").set_input_files(path)


def pixels(image):
    return np.asarray(image, np.int16)


def test_a_photo_is_taken_apart_compared_and_downloaded(visit, tmp_path):
    source = tmp_path / "window.jpg"
    photo(source, size=(160, 1760), exif=exif_block(6), icc_profile=icc_profile())
    assert main(["remove", str(source), "-o", str(tmp_path / "cli.jpg"), "--reflection"]) == 0
    page = visit()
    drop(page, "Photo", source)
    before, after = (page.locator(f"img[src$='{name}.jpg']") for name in ("before", "after"))
    expect(before).to_be_visible()
    for shown, file in ((before, source), (after, tmp_path / "cli.jpg")):
        answer = page.request.get(shown.get_attribute("src"))
        (tmp_path / "shown.jpg").write_bytes(answer.body())
        shown = open_picture(tmp_path / "shown.jpg")
        assert shown.info["icc_profile"] == icc_profile()
        assert shown.size == (1600, 145)
        assert np.abs(pixels(shown) - pixels(panel(open_picture(file)))).mean() < 3

    # the slider
    hidden = re.compile(r"inset\(0px 0px 0px ([\d.]+)%\)")
    start = float(hidden.search(after.get_attribute("style"))[1])
    box = after.bounding_box()
    page.mouse.move(box["x"] + start / 100 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    moved = float(hidden.search(after.get_attribute("style"))[1])
    assert start == 50
    assert 80 < moved < 100

    # the files
    for button, name, reference in (
        ("Download the photo", "window.clean.jpg", "cli.jpg"),
        ("Download the reflection", "window.reflection.jpg", "cli.reflection.jpg"),
    ):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
        with Image.open(tmp_path / name) as got, Image.open(tmp_path / reference) as expected:
            assert got.format == "JPEG"
            assert got.size == expected.size == (1760, 160)
            assert got.info["exif"] == expected.info["exif"]
            assert got.info["icc_profile"] == icc_profile()
            assert got.quantization == expected.quantization
            # Another thread, perhaps with another number of torch threads.
            assert np.abs(pixels(got) - pixels(expected)).max() <= 3


def test_visitors_at_the_same_time_get_their_own_photos(visit, model, tmp_path):
    pages = [visit(), visit()]
    for seed, page in enumerate(pages):
        drop(page, "Photo", photo(tmp_path / f"{seed}.png", seed))
    for seed, page in enumerate(pages):
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the photo", disabled=False).click()
        assert download.value.suggested_filename == f"{seed}.clean.png"
        expected = model.dereflect(Image.open(tmp_path / f"{seed}.png"))
        got = Image.open(download.value.path())
        assert np.abs(pixels(got) - pixels(expected)).max() <= 1


def said(page, words):
    """Wait for an error that begins with these words, and close it."""
    toast = page.get_by_test_id("toast-text")
    expect(toast).to_have_text(re.compile(f"^{re.escape(words)}"))
    page.get_by_test_id("toast-close").click()
    expect(toast).to_have_count(0)


def test_what_is_no_picture_or_too_large_is_said_in_a_sentence(visit, tmp_path):
    (tmp_path / "notes.jpg").write_text("not a picture")
    (tmp_path / "large.png").write_bytes(bytes(1_200_000))
    page = visit()
    drop(page, "Photo", tmp_path / "large.png")
    said(page, "File(s) exceed the maximum allowed size of 1.0 Mb")
    drop(page, "Photo", photo(tmp_path / "good.png"))
    button = page.get_by_role("button", name="Download the photo")
    expect(button).to_be_enabled()
    page.get_by_role("button", name="Clear").click()
    expect(button).to_be_disabled()
    drop(page, "Photo", tmp_path / "notes.jpg")
    said(page, "notes.jpg is not a picture")
    expect(button).to_be_disabled()


@pytest.fixture
def folder(tmp_path):
    """The example photos, and a broken file."""
    shutil.copytree(PHOTOS, tmp_path / "photos" / "mine")
    (tmp_path / "photos" / "broken.jpg").write_bytes((PHOTOS / "cat.jpg").read_bytes()[:900])
    return tmp_path / "photos"


def test_a_folder_is_indexed_and_searched(visit, hasher, folder):
    names = [f"mine/{path.name}" for path in sorted(PHOTOS.glob("*.jpg"))]
    index = HashIndex(64)
    index.add(hasher.encode_image([folder / name for name in names]), names)

    def expected(code):
        return [f"distance {hit.distance}: {hit.id}" for hit in index.search(code, 12)[0]]

    page = visit()
    page.get_by_role("tab", name="Search photos").click()
    page.get_by_label("What the photo shows").fill("a cat")
    page.keyboard.press("Enter")
    said(page, "no folder is indexed yet; enter a folder above and press Index")
    page.get_by_label("Folder").fill("/nowhere/<b>bold</b>")
    page.keyboard.press("Enter")
    said(page, "/nowhere/<b>bold</b> is not a folder; enter the path of a folder")

    page.get_by_label("Folder").fill(str(folder))
    page.get_by_role("button", name="Index").click()
    report = page.get_by_label("Index", exact=True)
    expect(report).to_have_value(
        re.compile(rf"^7 of 8 photos in {folder}\n{folder}/broken.jpg is damaged or cut short .+$")
    )

    words = page.get_by_label("What the photo shows")
    words.fill(" ")
    page.get_by_role("button", name="Search").click()
    said(page, "there are no words to search for")
    words.fill("a cat")
    page.keyboard.press("Enter")
    found = page.locator(".thumbnail-item .caption-label")
    by_words = expected(hasher.encode_text(["a cat"]))
    expect(found).to_have_text(by_words)
    first = page.request.get(page.locator(".thumbnail-item img").first.get_attribute("src")).body()
    (folder / "shown.jpg").write_bytes(first)
    shown, cat = open_picture(folder / "shown.jpg"), open_picture(PHOTOS / "cat.jpg")
    assert max(shown.size) == min(640, max(cat.size))
    assert np.abs(pixels(shown) - pixels(cat.resize(shown.size))).mean() < 5

    drop(page, "Or a photo like it", PHOTOS / "rocket.jpg")
    by_photo = expected(hasher.encode_image([PHOTOS / "rocket.jpg"]))
    assert by_photo[0] == "distance 0: mine/rocket.jpg"
    expect(found).to_have_text(by_photo)

    # The page must not serve the folder of the photos it found.
    outside = page.request.get(f"{page.url}gradio_api/file={folder}/mine/cat.jpg")
    assert outside.status == 403
