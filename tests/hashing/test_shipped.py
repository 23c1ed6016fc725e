"""The shipped student and teacher reproduce their stored outputs, and find pictures."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from derefl import HashIndex, list_models, load_lcdh_student
from derefl.cli import main
from derefl.hashing.teacher_pipeline import load_teacher_network
from derefl.hashing.tokenizer import padded, tokenize
from tests.conftest import REPOSITORY
from tests.parity import FIXTURES, TEXTS

PICTURES = REPOSITORY / "examples" / "pictures"


@pytest.fixture(scope="module")
def hasher():
    return load_lcdh_student()


@pytest.fixture(scope="module")
def index(hasher):
    """The example pictures by file name."""
    photos = sorted(PICTURES.glob("[ls]*/*.jpg"))
    index = HashIndex(bits=64, model=hasher.name, sha256=hasher.sha256)
    index.add(hasher.encode_image(photos), [photo.stem for photo in photos])
    return index


@torch.inference_mode()
def test_parity_of_the_student():
    stored = load_file(FIXTURES / "lcdh-student.safetensors")
    hasher = load_lcdh_student(bits=128)
    pieces = tokenize(TEXTS, hasher.config.vocabulary, hasher.config.max_tokens)
    np.testing.assert_array_equal(padded(pieces), stored["tokens"].numpy())
    image, text = hasher(stored["images"].float() / 255, stored["tokens"])
    torch.testing.assert_close(image, stored["image_codes"], atol=1e-3, rtol=0)
    torch.testing.assert_close(text, stored["text_codes"], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_parity_of_the_teacher():
    stored = load_file(FIXTURES / "lcdh-teacher.safetensors")
    teacher = load_teacher_network()
    image, text = teacher.image(stored["images"]), teacher.text(stored["texts"])
    for name, codes in (
        ("joint_codes", teacher(image, text)),
        ("image_codes", teacher(image=image)),
        ("text_codes", teacher(text=text)),
    ):
        torch.testing.assert_close(codes, stored[name], atol=1e-4, rtol=0, msg=name)


def test_limits_of_the_student():
    (entry,) = (m for m in list_models() if m.name == "lcdh-student")
    assert entry.parameters <= 10_000_000 and entry.bytes <= 21_000_000


@pytest.mark.parametrize(
    ("words", "photo"),
    [
        ("a cat", "cat"),
        ("mountains", "mountains"),
        ("a stream in the woods", "stream"),
        ("stars in the sky", "galaxies"),
        ("a mountain lake", "mountains"),
        ("a cup of coffee", "coffee"),
        ("two dogs", "friends"),
        ("a flower", "flower"),
    ],
)
def test_words_find_the_example_picture(hasher, index, words, photo):
    """Among the nearest three of fifteen pictures."""
    assert photo in [hit.id for hit in index.search(hasher.encode_text(words), k=3)[0]]


def test_the_commands_find_it_too(tmp_path, capsys):
    file = tmp_path / "photos.lcdh"
    assert main(["index", str(PICTURES / "search"), "-o", str(file)]) == 0
    assert main(["search", str(file), "stars in the sky", "-k", "1"]) == 0
    assert "galaxies.jpg" in capsys.readouterr().out
