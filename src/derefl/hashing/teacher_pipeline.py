"""The use of a teacher: loading, and features of pictures and texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from derefl.hashing.codes import check_bits, pack
from derefl.hashing.encoders import Encoder
from derefl.hashing.pictures import batches, listed, read
from derefl.hashing.teacher import LCDHTeacher, LCDHTeacherConfig
from derefl.hashing.tokenizer import strings
from derefl.zoo import load_model

KIND = "lcdh-teacher"


class TeacherPipeline:
    """A teacher and its encoder: from pictures and texts to unit vectors."""

    def __init__(self, teacher: LCDHTeacher, encoder: Encoder) -> None:
        self.teacher, self.encoder = teacher.eval(), encoder

    @torch.inference_mode()
    def images(self, images: Sequence[Any]) -> Tensor:
        """Pictures or paths → ``[n d]``."""
        features = [
            self.encoder.encode_image([read(picture) for picture in part])
            for part in batches(images, 32)
        ]
        return self.teacher.image(torch.cat(features).to(self.device))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Texts → ``[n d]``."""
        return self.teacher.text(self.encoder.encode_text(strings(texts)).to(self.device))

    @property
    def device(self) -> torch.device:
        """The teacher's device; encoders return CPU tensors."""
        return self.teacher.project.weight.device


class TeacherHasher:
    """A teacher with the methods of a :class:`~derefl.hashing.hasher.Hasher`: unimodal codes.

    For the evaluation of a teacher, and for codes on machines with the encoder.
    """

    def __init__(self, teaching: TeacherPipeline, *, bits: int, name: str = "") -> None:
        check_bits(bits)
        self.teaching, self.bits, self.name = teaching, bits, name

    def image_features(
        self, images: Sequence[Any], *, batch_size: int = 32, progress: bool = False
    ) -> np.ndarray:
        """The adapter's unit vectors, float32 ``[n d]``."""
        parts = tqdm(list(batches(listed(images), batch_size)), unit="batch", disable=not progress)
        return np.concatenate([self.teaching.images(part).cpu().numpy() for part in parts])

    def text_features(
        self, texts: Sequence[str], *, batch_size: int = 256, progress: bool = False
    ) -> np.ndarray:
        """The adapter's unit vectors, float32 ``[n d]``."""
        parts = tqdm(list(batches(strings(texts), batch_size)), unit="batch", disable=not progress)
        return np.concatenate([self.teaching.texts(part).cpu().numpy() for part in parts])

    @torch.inference_mode()
    def image_embedding(self, images: Sequence[Any], **options: Any) -> np.ndarray:
        """Real-valued codes of pictures, float32 ``[n bits]``."""
        features = torch.from_numpy(self.image_features(images, **options))
        codes = self.teaching.teacher(image=features.to(self.teaching.device))
        return codes[:, : self.bits].cpu().numpy()

    @torch.inference_mode()
    def text_embedding(self, texts: Sequence[str], **options: Any) -> np.ndarray:
        """Real-valued codes of texts, float32 ``[n bits]``."""
        features = torch.from_numpy(self.text_features(texts, **options))
        codes = self.teaching.teacher(text=features.to(self.teaching.device))
        return codes[:, : self.bits].cpu().numpy()

    def encode_image(self, images: Sequence[Any], **options: Any) -> np.ndarray:
        """Codes of pictures, uint8 ``[n bits/8]``."""
        return pack(self.image_embedding(images, **options))

    def encode_text(self, texts: Sequence[str], **options: Any) -> np.ndarray:
        """Codes of texts, uint8 ``[n bits/8]``."""
        return pack(self.text_embedding(texts, **options))


def load_lcdh_teacher(
    source: str | Path = "lcdh-teacher",
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> LCDHTeacher:
    """Load a teacher, for training a student or for joint codes of pairs.

    The teacher takes an encoder's features. For pictures and texts, use
    ``TeacherPipeline(teacher, load_encoder(teacher.config.encoder))``.

    Args:
        source: a name from ``derefl models``, a ``.safetensors`` file, a folder, or a Hub repo id
            ``org/name``.
        revision, cache_dir, token, local_files_only, force_download, device, dtype: as in
            :func:`~derefl.hashing.hasher.load_lcdh_student`, with the same errors.
    """
    model = load_model(
        source,
        kind=KIND,
        build=lambda config: LCDHTeacher(LCDHTeacherConfig(**config)),
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
        device=device,
        dtype=dtype,
    )
    return cast(LCDHTeacher, model)
