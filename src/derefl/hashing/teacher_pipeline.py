"""The teacher with its encoder: pictures and texts in, unit vectors and binary codes out."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from derefl.hashing.codes import check_bits, pack
from derefl.hashing.encoders import Encoder, load_encoder
from derefl.hashing.pictures import Picture, batches, listed, read
from derefl.hashing.teacher import LCDHTeacher, LCDHTeacherConfig
from derefl.hashing.tokenizer import strings
from derefl.zoo import load_model

KIND = "lcdh-teacher"


class TeacherPipeline:
    """A teacher's network and its encoder, with the methods of a ``Hasher``.

    The codes are unimodal. For the joint codes of pairs:
    ``teacher.network(teacher.images(pictures), teacher.texts(texts))``.

    Attributes:
        network: the :class:`~derefl.hashing.teacher.LCDHTeacher`.
        encoder: makes its input, see :mod:`derefl.hashing.encoders`.
        bits: length of the codes.
        name: the model's name.
    """

    def __init__(
        self, network: LCDHTeacher, encoder: Encoder, *, bits: int = 64, name: str = ""
    ) -> None:
        check_bits(bits)
        self.network, self.encoder = network.eval(), encoder
        self.bits, self.name = bits, name

    @torch.inference_mode()
    def images(
        self, images: Iterable[Picture] | Picture, *, batch_size: int = 32, progress: bool = False
    ) -> Tensor:
        """Unit vectors of pictures: PIL pictures or paths → ``[n d]``."""

        def encode(part: list[Picture]) -> Tensor:
            return self.encoder.encode_image([read(picture) for picture in part])

        parts = list(batches(listed(images), batch_size))
        return self.network.image(self._encoded(encode, parts, progress, self.encoder.image_dim))

    @torch.inference_mode()
    def texts(
        self, texts: Iterable[str] | str, *, batch_size: int = 256, progress: bool = False
    ) -> Tensor:
        """Unit vectors of texts → ``[n d]``."""
        parts = list(batches(strings(texts), batch_size))
        features = self._encoded(self.encoder.encode_text, parts, progress, self.encoder.text_dim)
        return self.network.text(features)

    def image_features(self, images: Iterable[Picture] | Picture, **options: Any) -> np.ndarray:
        """:meth:`images` as float32 ``[n d]``."""
        return array(self.images(images, **options))

    def text_features(self, texts: Iterable[str] | str, **options: Any) -> np.ndarray:
        """:meth:`texts` as float32 ``[n d]``."""
        return array(self.texts(texts, **options))

    @torch.inference_mode()
    def image_embedding(self, images: Iterable[Picture] | Picture, **options: Any) -> np.ndarray:
        """The real-valued codes of pictures, before sign: float32 ``[n bits]`` in (−1, 1)."""
        return array(self.network(image=self.images(images, **options))[:, : self.bits])

    @torch.inference_mode()
    def text_embedding(self, texts: Iterable[str] | str, **options: Any) -> np.ndarray:
        """The real-valued codes of texts, before sign: float32 ``[n bits]`` in (−1, 1)."""
        return array(self.network(text=self.texts(texts, **options))[:, : self.bits])

    def encode_image(self, images: Iterable[Picture] | Picture, **options: Any) -> np.ndarray:
        """Binary codes of pictures, uint8 ``[n, bits/8]``; options as in :meth:`images`."""
        return pack(self.image_embedding(images, **options))

    def encode_text(self, texts: Iterable[str] | str, **options: Any) -> np.ndarray:
        """Binary codes of texts, uint8 ``[n, bits/8]``; options as in :meth:`texts`."""
        return pack(self.text_embedding(texts, **options))

    def _encoded(
        self, encode: Callable[[Any], Tensor], parts: list[Any], progress: bool, width: int
    ) -> Tensor:
        """The encoder's features on the network's device, ``[n width]``."""
        features = [encode(part) for part in tqdm(parts, unit="batch", disable=not progress)]
        return torch.cat([torch.empty(0, width), *features]).to(self.network.project.weight)


def array(x: Tensor) -> np.ndarray:
    """A float32 array."""
    return x.float().cpu().numpy()


def load_lcdh_teacher(
    source: str | Path = "lcdh-teacher",
    *,
    bits: int = 64,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> TeacherPipeline:
    """Load a teacher and its encoder, for pictures and texts.

    Args:
        source: a name from ``derefl models``, a ``.safetensors`` file, a folder, or a Hub repo id
            ``org/name``.
        bits: length of the codes: 16, 32, 64 or 128.
        revision, cache_dir, token, local_files_only, force_download, device, dtype: as in
            :func:`~derefl.hashing.hasher.load_lcdh_student`, with the same errors. ``dtype`` does
            not change the encoder.

    Raises:
        MissingExtraError: the encoder needs a package of the extra ``train``.
    """
    check_bits(bits)
    network = load_teacher_network(
        source,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
        device=device,
        dtype=dtype,
    )
    encoder = load_encoder(network.config.encoder, device or "cpu")
    return TeacherPipeline(network, encoder, bits=bits, name=str(source))


def load_teacher_network(source: str | Path = "lcdh-teacher", **options: Any) -> LCDHTeacher:
    """Load a teacher without its encoder, for training on stored features.

    Args:
        source: as in :func:`load_lcdh_teacher`.
        options: those of :func:`load_lcdh_teacher` except ``bits``, with the same errors.
    """
    return load_model(
        source,
        kind=KIND,
        build=lambda config: LCDHTeacher(LCDHTeacherConfig(**config)),
        **options,
    )
