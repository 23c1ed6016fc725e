"""The hasher: pictures and texts in, binary codes out."""

import hashlib
from collections.abc import Iterable, Sized
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from derefl.errors import ConfigError
from derefl.hashing.codes import check_bits, pack
from derefl.hashing.fuse_batchnorm import Folded
from derefl.hashing.index.hash_index import HashIndex
from derefl.hashing.pictures import Picture, Views, batches, centre, listed, prepared, tensor
from derefl.hashing.student import HashHead, ImageTower, LCDHStudent, LCDHStudentConfig
from derefl.hashing.tokenizer import by_length, padded, strings, tokenize
from derefl.imaging.tensors import check_tensor
from derefl.zoo import check_device, file_sha256, load_checkpoint, locate, parse_dtype

Pictures: TypeAlias = Iterable[Picture] | Picture | Tensor

KIND = "lcdh-student"


class Hasher(LCDHStudent):
    """An :class:`~derefl.hashing.student.LCDHStudent` that takes pictures and strings.

    Encoding does not change the hasher, so several threads may share it. A call with tensors runs
    the plain network.

    Attributes:
        bits: length of the codes.
        name: the model's name; "" if the model was not loaded by name, or was trained since.
        sha256: of the loaded checkpoint; "" without a checkpoint; after training, of the weights
            (:meth:`learned`).
    """

    def __init__(
        self, config: LCDHStudentConfig, *, bits: int = 64, name: str = "", sha256: str = ""
    ) -> None:
        super().__init__(config)
        check_bits(bits)
        if bits > config.bits:
            raise ConfigError(f"got bits={bits}, but this model's codes have {config.bits}")
        self.bits = bits
        self.name, self.sha256 = name, sha256
        self._folded: Folded[ImageTower] = Folded()

    def new_index(self) -> HashIndex:
        """An empty index for the codes of this hasher, which encodes its pictures and queries."""
        index = HashIndex(self.bits, self.name, self.sha256)
        index.hasher = self
        return index

    def learned(self) -> None:
        """Mark the weights as changed: they are no longer the weights of the checkpoint.

        Training in place calls this method. ``name`` becomes "" and ``sha256`` a digest of the
        weights, so that an index of the checkpoint's codes refuses this hasher.
        """
        digest = hashlib.sha256()
        for weights in self.state_dict().values():
            digest.update(weights.cpu().flatten().view(torch.uint8).numpy())
        self.name, self.sha256 = "", digest.hexdigest()

    def encode_image(
        self, images: Pictures, *, batch_size: int = 32, progress: bool = False
    ) -> np.ndarray:
        """Binary codes of pictures. The network sees each picture twice: the whole and its centre.

        Args:
            images: PIL pictures, arrays, paths or bytes, one or an iterable; or float
                ``[n 3 h w]``, sRGB in [0, 1]. Transparent pictures are composited over white.
                Threads decode files, large JPEG files at reduced size: few bits differ from the
                code of the decoded picture.
            batch_size: pictures per network call; does not change the codes.
            progress: show a bar on stderr.

        Returns:
            uint8 ``[n, bits/8]``, the first bit of a code the highest of its first byte
            (:func:`numpy.packbits`). A shorter code is the beginning of a longer one.

        Raises:
            ImageError: not a picture, a file that cannot be read, or a tensor of wrong type, shape
                or range.
            ConfigError: ``batch_size`` is below 1.
        """
        return pack(self.image_embedding(images, batch_size=batch_size, progress=progress))

    def encode_text(
        self, texts: Iterable[str] | str, *, batch_size: int = 256, progress: bool = False
    ) -> np.ndarray:
        """Binary codes of texts. The codes of a picture and of its description are close.

        Args:
            texts: one English string or an iterable of strings. Only the first
                ``config.max_tokens`` word pieces of a text are used.
            batch_size: texts per network call; does not change the codes.
            progress: show a bar on stderr.

        Returns:
            uint8 ``[n, bits/8]``, as in :meth:`encode_image`.

        Raises:
            ConfigError: an item is not a string, or ``batch_size`` is below 1.
        """
        return pack(self.text_embedding(texts, batch_size=batch_size, progress=progress))

    def image_embedding(
        self, images: Pictures, *, batch_size: int = 32, progress: bool = False
    ) -> np.ndarray:
        """The real-valued codes of pictures, before sign: float32 ``[n bits]`` in (−1, 1)."""
        features = self.image_features(images, batch_size=batch_size, progress=progress)
        return self._hashed(self.image_hash, features)

    def text_embedding(
        self, texts: Iterable[str] | str, *, batch_size: int = 256, progress: bool = False
    ) -> np.ndarray:
        """The real-valued codes of texts, before sign: float32 ``[n bits]`` in (−1, 1)."""
        features = self.text_features(texts, batch_size=batch_size, progress=progress)
        return self._hashed(self.text_hash, features)

    @torch.inference_mode()
    def image_features(
        self, images: Pictures, *, batch_size: int = 32, progress: bool = False
    ) -> np.ndarray:
        """The features of pictures, before the hash head: float32 unit vectors ``[n d]``."""
        images = listed(images)
        if isinstance(images, Tensor) and images.shape[:1] != (0,):  # empty: no codes
            check_tensor(images, 1, "encode_image([image, …])")
        count = len(images) if isinstance(images, Sized) else None
        inputs: Any = images
        if not isinstance(images, Tensor):
            inputs = (future.result() for future in prepared(images, self.config.image_size))
        tower = self.image if self.training else self._folded.of(self.image)
        features = [
            tower.of_views(self._views(part))
            for part in tqdm(
                batches(inputs, batch_size),
                total=count and -(-count // batch_size),
                unit="batch",
                disable=not progress,
            )
        ]
        return self._array(features)

    @torch.inference_mode()
    def text_features(
        self, texts: Iterable[str] | str, *, batch_size: int = 256, progress: bool = False
    ) -> np.ndarray:
        """The features of texts, before the hash head: float32 unit vectors ``[n d]``."""
        tokens = tokenize(strings(texts), self.config.vocabulary, self.config.max_tokens)
        parts = by_length(tokens, batch_size)
        features = [
            self.text(torch.from_numpy(padded([tokens[i] for i in part])).to(self._device))
            for part in tqdm(parts, unit="batch", disable=not progress)
        ]
        out = self._array(features)
        out[[i for part in parts for i in part]] = out.copy()
        return out

    def _views(self, part: list[Views] | Tensor) -> Tensor:
        """The views of pictures, ``[b view 3 s s]`` in the network's dtype."""
        if not isinstance(part, Tensor):
            return torch.stack([tensor(views) for views in part]).to(self.image.project.weight)
        left, top, right, bottom = centre(part.shape[3], part.shape[2])
        size = (self.config.image_size, self.config.image_size)
        views = [
            F.interpolate(view.float(), size, mode="bicubic", antialias=True)
            for view in (part, part[:, :, top:bottom, left:right])
        ]
        return torch.stack(views, dim=1).clamp(0, 1).to(self.image.project.weight)

    def _array(self, features: list[Tensor]) -> np.ndarray:
        if not features:
            return np.zeros((0, self.config.feature_dim), np.float32)
        return torch.cat(features).float().cpu().numpy()

    @torch.inference_mode()
    def _hashed(self, head: HashHead, features: np.ndarray) -> np.ndarray:
        weight = head.project.weight
        x = torch.from_numpy(features).to(weight.device, weight.dtype)
        return head(x)[:, : self.bits].float().cpu().numpy()

    @property
    def _device(self) -> torch.device:
        return self.image.project.weight.device


def load_lcdh_student(
    source: str | Path = "lcdh-student",
    *,
    bits: int = 64,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> Hasher:
    """Load a model that encodes pictures and texts.

    With several processes, start them with ``multiprocessing.get_context("spawn")`` and load the
    model in each: a forked process hangs if the parent has used torch.

    Args:
        source: a name from ``derefl models``, a ``.safetensors`` file, a folder, or a Hub repo id
            ``org/name``.
        bits: length of the codes: 16, 32, 64 or 128.
        revision, cache_dir, token, local_files_only, force_download: as in huggingface_hub; not
            used for weights that are on this machine.
        device: for example ``"cuda"``; None: the CPU.
        dtype: of the weights, for example ``"float16"``; None: float32.

    Raises:
        ModelNotFoundError: no model, file, folder or repo with this name.
        DownloadError: the Hub cannot be reached, or refuses the request.
        CheckpointError: the weights are damaged or of another architecture.
        ConfigError: the device, dtype or code length does not exist.
    """
    check_bits(bits)
    dtype = parse_dtype(dtype)
    check_device(device)
    found = locate(
        source,
        kind=KIND,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    # A known sha256 is compared when the file is loaded.
    sha256 = found.sha256 or file_sha256(found.weights)
    name = found.entry.name if found.entry else str(source)
    return load_checkpoint(
        found.weights,
        kind=KIND,
        build=lambda config: Hasher(
            LCDHStudentConfig(**config), bits=bits, name=name, sha256=sha256
        ),
        config_file=found.config_file,
        sha256=found.sha256,
        device=device,
        dtype=dtype,
    )
