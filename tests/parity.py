"""Stored outputs of the shipped checkpoints; ``python -m tests.parity`` writes new ones.

They should only change if the weights change.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from derefl import load_derefl, load_lcdh_student
from derefl.hashing.teacher_pipeline import load_teacher_network
from derefl.hashing.tokenizer import padded, tokenize

FIXTURES = Path(__file__).parent / "fixtures"


def store_derefl_base() -> None:
    """Input and layers of one 40×56 picture: smooth colours, edges, noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    x = torch.nn.functional.interpolate(coarse, (40, 56), mode="bilinear")
    x[:, :, 10:30, 20:40] = 1 - x[:, :, 10:30, 20:40]
    x = (x + 0.05 * torch.rand(x.shape, generator=generator)).clamp(0, 1)
    with torch.inference_mode():
        layers = load_derefl("derefl-base")(x)
    tensors = {"input": x, **layers._asdict()}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, FIXTURES / "derefl-base.safetensors")


TEXTS = ["a dog runs on the beach", "two people in red jackets", "", "zzyzx"]


def store_lcdh_student() -> None:
    """Two pictures of smooth colours, :data:`TEXTS` as word pieces, and real-valued codes."""
    hasher = load_lcdh_student("lcdh-student", bits=128)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 6, 6, generator=generator)
    side = hasher.config.image_size
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    images = (smooth * 255).round().byte()
    pieces = tokenize(TEXTS, hasher.config.vocabulary, hasher.config.max_tokens)
    tokens = torch.from_numpy(padded(pieces))
    with torch.inference_mode():
        image, text = hasher(images.float() / 255, tokens)
    tensors = {"images": images, "tokens": tokens, "image_codes": image, "text_codes": text}
    save_file(
        {k: v.contiguous() for k, v in tensors.items()}, FIXTURES / "lcdh-student.safetensors"
    )


def store_lcdh_teacher() -> None:
    """Features of noise, and the codes of pairs, pictures and texts."""
    teacher = load_teacher_network("lcdh-teacher")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, teacher.config.image_dim, generator=generator)
    texts = torch.randn(3, teacher.config.text_dim, generator=generator)
    with torch.inference_mode():
        image, text = teacher.image(images), teacher.text(texts)
        tensors = {
            "images": images,
            "texts": texts,
            "joint_codes": teacher(image, text),
            "image_codes": teacher(image=image),
            "text_codes": teacher(text=text),
        }
    save_file(
        {k: v.contiguous() for k, v in tensors.items()}, FIXTURES / "lcdh-teacher.safetensors"
    )


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    store_derefl_base()
    store_lcdh_student()
    store_lcdh_teacher()
