"""The page in a real browser."""

import re
import shutil
import time
from threading import Semaphore
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from derefl.cli import main
from derefl.hashing.index.hash_index import HashIndex
from derefl.imaging.compare import panel
from derefl.imaging.files import open_picture
from derefl.reflection.amount import Separation
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


def test_a_photo_is_taken_apart_compared_and_downloaded(page, model, tmp_path):
    source, weights = tmp_path / "window.jpg", tmp_path / "model.safetensors"
    photo(source, size=(48, 1760), exif=exif_block(6), icc_profile=icc_profile())
    model.save(weights)
    remove = ["remove", str(source), "-o", str(tmp_path / "cli.jpg"), "--reflection"]
    assert main([*remove, "--model", str(weights)]) == 0
    drop(page, "Photo", source)
    before, after = (page.locator(f"img[src$='{name}.jpg']") for name in ("before", "after"))
    expect(before).to_be_visible()
    for shown, file in ((before, source), (after, tmp_path / "cli.jpg")):
        answer = page.request.get(shown.get_attribute("src"))
        (tmp_path / "shown.jpg").write_bytes(answer.body())
        shown = open_picture(tmp_path / "shown.jpg")
        assert shown.info["icc_profile"] == icc_profile()
        assert shown.size == (1600, 44)
        assert np.abs(pixels(shown) - pixels(panel(open_picture(file)))).mean() < 3
    amount = model.separate(source).amount
    assert amount > 0.01
    expect(page.get_by_label("Reflection found")).to_have_value(f"window.jpg: {100 * amount:.1f} %")

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
            assert got.size == expected.size == (1760, 48)
            assert got.info["exif"] == expected.info["exif"]
            assert got.info["icc_profile"] == icc_profile()
            assert got.quantization == expected.quantization
            # Another thread, perhaps with another number of torch threads.
            assert np.abs(pixels(got) - pixels(expected)).max() <= 3


def saved(page):
    """Download the photo, and return its name and picture."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the photo", disabled=False).click()
    return download.value.suggested_filename, Image.open(download.value.path())


@pytest.fixture
def network(model):
    """``runs`` of the network, ``started`` for each run, and ``gate`` to hold the runs."""
    network = SimpleNamespace(runs=0, started=Semaphore(0), gate=None)

    def run(*_):
        network.runs += 1
        network.started.release()
        if network.gate:
            assert network.gate.acquire(timeout=600)

    handle = model.network.register_forward_pre_hook(run)
    yield network
    handle.remove()


def test_strength_and_mask_change_the_photo_without_the_network(page, model, network, tmp_path):
    source = photo(tmp_path / "a.png", size=(320, 160))
    old, weak = pixels(Image.open(source)), pixels(model.dereflect(source, strength=0.4))
    strength = page.get_by_label("range slider for Strength")
    drop(page, "Photo", source)
    expect(page.get_by_label("Reflection found")).to_have_value(re.compile(r"^a\.png: .+ %$"))
    runs = network.runs
    assert runs == 2 * 2  # in two sizes

    after = page.locator("img[src$='after.jpg']")
    first = after.get_attribute("src")
    strength.fill("0.4")
    expect(after).not_to_have_attribute("src", first)
    assert np.array_equal(pixels(saved(page)[1]), weak)

    page.get_by_text("Change only a part").click()
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + box["height"] - 5, steps=3)
    page.mouse.up()
    expect(page.get_by_role("button", name="Download the photo")).to_be_disabled()
    got = pixels(saved(page)[1])
    assert np.array_equal(got[:, 28:36], weak[:, 28:36])
    assert np.array_equal(got[:, 100:], old[:, 100:]) and not np.array_equal(got, weak)

    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.get_by_role("button", name="Download the photo")).to_be_disabled()
    assert np.array_equal(pixels(saved(page)[1]), weak)
    assert network.runs == runs


def test_each_page_gets_its_last_photo_and_closed_pages_none(
    page, visit, server, model, network, tmp_path
):
    def waiting(count):
        for _ in range(60_000):
            if len(server.page._queue) == count:  # the queue has no other way to ask
                return
            time.sleep(0.01)
        raise AssertionError(f"{len(server.page._queue)} visitors wait, expected {count}")

    photos = [photo(tmp_path / f"{seed}.png", seed) for seed in range(4)]
    expected = [pixels(model.dereflect(path)) for path in photos]
    network.gate = Semaphore(0)
    closed, other = visit(), visit()
    for _ in photos:
        network.started.acquire()
    drop(page, "Photo", photos[0])
    assert network.started.acquire(timeout=600)
    with page.expect_response("**/run/predict"):
        drop(page, "Photo", photos[1])
    drop(closed, "Photo", photos[2])
    waiting(1)
    drop(other, "Photo", photos[3])
    waiting(2)
    closed.close()
    waiting(1)

    network.gate.release()  # the replaced photo
    assert network.started.acquire(timeout=600)
    expect(page.get_by_label("Reflection found")).to_have_value("")
    expect(page.locator("img[src$='after.jpg']")).to_have_count(0)
    network.gate.release(2)
    for visitor, number in ((page, 1), (other, 3)):
        name, got = saved(visitor)
        assert name == f"{number}.clean.png"
        assert np.abs(pixels(got) - expected[number]).max() <= 1
    assert network.runs == 4 + 3
    other.close()  # Chromium slows the timers of a page behind another one


def test_a_photo_of_48_megapixels_is_shown_small_and_saved_in_full(page, monkeypatch, tmp_path):
    separate = lambda self, image, **_: Separation(image, image, 0.5)  # noqa: E731
    monkeypatch.setattr("derefl.web.remove_tab.CachedRemover.separate", separate)
    large = Image.linear_gradient("L").resize((8000, 6000))
    large.save(tmp_path / "large.jpg", quality=50, exif=exif_block())
    drop(page, "Photo", tmp_path / "large.jpg")
    expect(page.get_by_label("Reflection found")).to_have_value("large.jpg: 50.0 %")
    after = page.locator("img[src$='after.jpg']")
    assert after.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1600
    name, got = saved(page)
    assert (name, got.size, got.info["exif"]) == ("large.clean.jpg", large.size, exif_block())


def said(page, words):
    """Wait for an error that begins with these words, and close it."""
    toast = page.get_by_test_id("toast-text")
    expect(toast).to_have_text(re.compile(f"^{re.escape(words)}"))
    page.get_by_test_id("toast-close").click()
    expect(toast).to_have_count(0)


def test_what_is_no_picture_or_too_large_is_said_in_a_sentence(page, tmp_path):
    (tmp_path / "notes.jpg").write_text("not a picture")
    (tmp_path / "large.png").write_bytes(bytes(1_200_000))
    drop(page, "Photo", tmp_path / "large.png")
    said(page, "File(s) exceed the maximum allowed size of 1.0 Mb")
    drop(page, "Photo", photo(tmp_path / "good.png"))
    button = page.get_by_role("button", name="Download the photo")
    expect(button).to_be_enabled()
    drop(page, "Photo", tmp_path / "notes.jpg")
    said(page, "notes.jpg is not a picture")
    expect(button).to_be_disabled()


@pytest.fixture
def folder(tmp_path):
    """The example photos, and a broken file."""
    shutil.copytree(PHOTOS, tmp_path / "photos" / "mine")
    (tmp_path / "photos" / "broken.jpg").write_bytes((PHOTOS / "cat.jpg").read_bytes()[:900])
    return tmp_path / "photos"


def test_a_folder_is_indexed_and_searched(page, hasher, folder):
    names = [f"mine/{path.name}" for path in sorted(PHOTOS.glob("*.jpg"))]
    index = HashIndex(64)
    index.add(hasher.encode_image([folder / name for name in names]), names)

    def expected(code):
        return [f"{hit.distance}: {hit.id}" for hit in index.search(code, 12)[0]]

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
    shown = open_picture(folder / "shown.jpg")
    original = open_picture(PHOTOS / by_words[0].partition("/")[2])
    assert max(shown.size) == min(640, max(original.size))
    assert np.abs(pixels(shown) - pixels(original.resize(shown.size))).mean() < 5

    page.locator(".thumbnail-item").nth(1).click()
    opened = page.get_by_test_id("detailed-image")
    name = by_words[1].partition("/")[2]
    expect(opened).to_have_attribute("src", re.compile(f"/{name}$"))
    answer = page.request.get(opened.get_attribute("src"))
    assert answer.body() == (PHOTOS / name).read_bytes()
    page.keyboard.press("Escape")

    drop(page, "Or a photo like it", PHOTOS / "rocket.jpg")
    by_photo = expected(hasher.encode_image([PHOTOS / "rocket.jpg"]))
    assert by_photo[0] == "0: mine/rocket.jpg"
    expect(found).to_have_text(by_photo)

    # The page must not serve the folder of the photos it found.
    outside = page.request.get(f"{page.url}gradio_api/file={folder}/mine/cat.jpg")
    assert outside.status == 403
