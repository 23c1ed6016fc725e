"""The evaluation: protocols, layouts, errors."""

import shutil

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from derefl.errors import ConfigError, DataError
from derefl.reflection.learning.evaluate import evaluate
from derefl.reflection.learning.folders import list_pairs
from derefl.reflection.model import Layers


@pytest.fixture
def identity(tiny, monkeypatch):
    """A network that returns its input."""
    monkeypatch.setattr(tiny.network, "forward", lambda x: Layers(x, x * 0, x * 0))
    return tiny


@pytest.mark.parametrize("protocol", ["resize32", "native8"])
def test_identity_scores_what_the_input_scores(identity, pair_folder, protocol):
    report = evaluate(identity, list_pairs(pair_folder), protocol)
    assert report["n"] == 3
    assert report["psnr"] == pytest.approx(report["input_psnr"], abs=1e-4)
    assert report["ssim"] == pytest.approx(report["input_ssim"], abs=1e-6)
    png = next(score for score in report["per_image"] if score["name"] == "0")
    assert png["input_psnr"] == pytest.approx(20 * np.log10(255 / 20), abs=1e-6)


def test_resize32_is_per_channel_and_resized_down(identity, tmp_path):
    rng = np.random.default_rng(0)
    for part in ("blended", "transmission_layer"):
        (tmp_path / part).mkdir()
        array = rng.integers(0, 256, (45, 70, 3)) // np.array([1, 2, 4])
        Image.fromarray(array.astype(np.uint8)).save(tmp_path / part / "a.png")
    blended, truth = (
        np.asarray(Image.open(tmp_path / part / "a.png").resize((64, 32))).astype(float)
        for part in ("blended", "transmission_layer")
    )
    report = evaluate(identity, list_pairs(tmp_path), "resize32")
    for name, score in (("psnr", peak_signal_noise_ratio), ("ssim", structural_similarity)):
        channels = [score(truth[..., c], blended[..., c], data_range=255) for c in range(3)]
        assert report[f"input_{name}"] == pytest.approx(np.mean(channels))
    joint = evaluate(identity, list_pairs(tmp_path), "native8")["input_psnr"]
    assert abs(joint - report["input_psnr"]) > 0.1  # the protocols give different results


def test_sir2_layout(tmp_path):
    files = ["SolidObjectDataset/2/Focus/27", "Wildscene/24"]
    for folder in files:
        (tmp_path / folder).mkdir(parents=True)
        for name in "mgr":
            Image.new("RGB", (40, 32)).save(tmp_path / folder / f"{name}.jpg")
    postcard = tmp_path / "Postcard Dataset/Focus/bh-27"
    postcard.mkdir(parents=True)
    for name in "mgr":
        Image.new("RGB", (40, 32)).save(postcard / f"bh-5-{name}-27.png")
    pairs = list_pairs(tmp_path)
    assert [p.name for p in pairs] == [
        "Postcard Dataset-Focus-bh-27-bh-5-m-27",
        "SolidObjectDataset-2-Focus-27-m",
        "Wildscene-24-m",
    ]
    assert [p.transmission.name for p in pairs] == ["bh-5-g-27.png", "g.jpg", "g.jpg"]
    (postcard / "bh-5-g-27.png").unlink()
    with pytest.raises(DataError, match=r"expected bh-5-g-27\.png"):
        list_pairs(tmp_path)


def test_errors_name_the_picture(identity, pair_folder, tmp_path):
    with pytest.raises(ConfigError, match="resize32, native8"):
        evaluate(identity, list_pairs(pair_folder), "psnr")
    with pytest.raises(DataError, match="is not a folder"):
        list_pairs(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither blended/"):
        list_pairs(tmp_path / "empty")
    Image.new("RGB", (32, 32)).save(pair_folder / "blended" / "0.png")
    with pytest.raises(DataError, match="0: the blended picture is 32×32, its truth 96×64"):
        evaluate(identity, list_pairs(pair_folder))
    shutil.rmtree(pair_folder / "blended")
    with pytest.raises(DataError, match="blended is not a folder"):
        list_pairs(pair_folder)
