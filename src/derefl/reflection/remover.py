"""The Python interface: remove reflections from pictures."""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from derefl.errors import ConfigError, ImageError, is_out_of_memory
from derefl.imaging.arrays import Bytes, Mask, StrPath, as_mask, as_picture, to_array
from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture
from derefl.imaging.strips import cut, joined
from derefl.imaging.tensors import check_tensor, from_tensor
from derefl.reflection.amount import Separation, from_moments, moments
from derefl.reflection.any_size import changes
from derefl.reflection.model import SMALLEST, DeRefl, DeReflConfig, Layers
from derefl.reflection.row_reader import RowReader
from derefl.zoo import load_model, save_checkpoint

P = TypeVar("P", Image.Image, SixteenBitPicture, NDArray[np.uint8], NDArray[np.uint16])


class ReflectionRemover:
    """Removes reflections from pictures with a network.

    A remover keeps no state between pictures, so several threads may share it.

    Attributes:
        network: a :class:`~derefl.reflection.model.DeRefl`.
    """

    def __init__(self, network: DeRefl) -> None:
        self.network = network

    @property
    def config(self) -> DeReflConfig:
        """The config of the network."""
        return self.network.config

    def to(self, *args: Any, **options: Any) -> "ReflectionRemover":
        """Move the network to a device or dtype, as ``torch.nn.Module.to``."""
        self.network.to(*args, **options)
        return self

    def save(self, path: str | Path) -> None:
        """Write a ``.safetensors`` file for :func:`load_derefl`, in the dtype of the weights.

        Raises:
            OutputError: the file cannot be written.
        """
        dtype = next(self.network.parameters()).dtype
        config = asdict(self.config)
        save_checkpoint(self.network, path, kind="derefl", config=config, dtype=dtype)

    def __call__(self, x: Tensor) -> Layers:
        """Run the network on an sRGB tensor, float ``[b 3 h w]`` in [0, 1], h and w ≥ 16.

        Raises:
            ImageError: wrong type, shape, range or device, or NaN.
        """
        if not isinstance(x, Tensor):
            raise ImageError(
                f"got a {type(x).__name__}, expected a float tensor [b, 3, h, w]; for pictures, "
                "use model.dereflect(image)"
            )
        check_tensor(x, SMALLEST, "model.dereflect(image)")
        weight = next(self.network.parameters())
        if (x.dtype, x.device) != (weight.dtype, weight.device):
            raise ImageError(
                f"got a tensor of {x.dtype} on {x.device}, expected {weight.dtype} on "
                f"{weight.device}, as the weights; try x.to({weight.device.type!r}, {weight.dtype})"
            )
        return self.network(x)

    @overload
    def dereflect(self, images: P, *, strength: float = ..., mask: Mask = ...) -> P: ...
    @overload
    def dereflect(
        self, images: StrPath | Bytes, *, strength: float = ..., mask: Mask = ...
    ) -> Picture: ...
    @overload
    def dereflect(
        self, images: Sequence[P], *, strength: float = ..., mask: Mask = ...
    ) -> list[P]: ...
    @overload
    def dereflect(
        self, images: Iterable[Any], *, strength: float = ..., mask: Mask = ...
    ) -> Any: ...

    def dereflect(self, images: Any, *, strength: float = 1.0, mask: Mask = None) -> Any:
        """Remove the reflections from a photo, or from several photos.

        Args:
            images: a photo of any size from 1×1, or an iterable of photos. A photo is a PIL picture
                of mode 1, L, LA, P, RGB, RGBA, CMYK, I;16 or I; a
                :class:`~derefl.imaging.sixteen_bit.SixteenBitPicture`; a path; the bytes of a file;
                or an array ``[h w]``, ``[h w 3]`` or ``[h w 4]``, uint8 or uint16.
            strength: how much of the reflection is removed, from 0 (nothing) to 1.
            mask: a picture of the size of the upright photo: white where the photo may change,
                black or transparent where it keeps its colours, grey for soft edges. Or a boolean
                array.

        Returns:
            A picture with the size, mode, alpha, ICC profile, EXIF and other ``info`` of the input;
            for a path or bytes, see :func:`~derefl.open_picture`. An array for an array. The pixels
            are turned as the EXIF orientation says, and the orientation becomes 1; width and
            height may swap. :func:`~derefl.imaging.tensors.from_tensor` has details for each mode.

            For a list or tuple, a list. For any other iterable, for example a generator, an
            iterator that takes one photo at a time.

        Raises:
            ImageError: an input is not a picture, is damaged or has an unsupported mode; the mask
                has another size; the network overflowed; or memory ran out.
            ConfigError: ``strength`` is invalid.
        """
        return self._each(images, strength, mask, separate=False)

    def separate(self, images: Any, *, strength: float = 1.0, mask: Mask = None) -> Any:
        """Like :meth:`dereflect`, but return a :class:`Separation` for each photo."""
        return self._each(images, strength, mask, separate=True)

    def _each(self, images: Any, strength: float, mask: Mask, *, separate: bool) -> Any:
        """The result for a photo, a list of results, or for other iterables an iterator."""
        if not 0 <= strength <= 1:  # also true for NaN
            raise ConfigError(f"got strength={strength}, expected a number from 0 to 1")
        share = None if mask is None else RowReader.of_picture(as_mask(mask))

        def work(image: Any) -> Any:
            return self._one(image, strength, share, separate)

        if isinstance(images, list | tuple):
            return [work(image) for image in images]
        alone = isinstance(images, str | Bytes | np.ndarray | Tensor | io.IOBase)
        return work(images) if alone or not isinstance(images, Iterable) else map(work, images)

    def _one(self, image: Any, strength: float, share: RowReader | None, separate: bool) -> Any:
        """T̂, or the separation, of one photo."""
        is_array = isinstance(image, np.ndarray)
        image = as_picture(image)
        rows = RowReader.of_picture(image)
        if share and (share.width, share.height) != image.size:
            raise ImageError(
                f"got a mask of {share.width}×{share.height} pixels, expected {rows.width}×"
                f"{rows.height}, the size of the upright photo; resize the mask"
            )

        strips, seen = [], []
        with inference(rows):
            for top, pixels, change in changes(self._one_pass, rows):
                bottom = top + pixels.shape[2]
                if separate:
                    seen.append(moments(pixels, (pixels + change).clamp(0, 1)))
                if strength < 1:
                    change = change * strength
                if share:
                    change = change * share.read(top, bottom).mean(1, keepdim=True)
                clean = (pixels + change).clamp(0, 1)
                parts = (clean, pixels - clean) if separate else (clean,)
                strips.append([from_tensor(part, cut(image, top, bottom)) for part in parts])
            whole: list[Any] = [joined(pieces) for pieces in zip(*strips, strict=True)]
            if is_array:
                whole = [to_array(picture) for picture in whole]
            if separate:
                return Separation(whole[0], whole[1], from_moments(torch.stack(seen).sum(0)))
            return whole[0]

    def transmission(self, pixels: Tensor) -> Tensor:
        """T̂ for pictures of any size, float32 ``[b 3 h w]`` in [0, 1]; T̂ is not clipped.

        The network sees a picture in two sizes, and both changes are averaged, see
        :func:`~derefl.reflection.any_size.changes`. The change is added to the input, so half
        precision rounds only the change.

        Raises:
            ImageError: the network overflowed or memory ran out.
        """
        rows = RowReader.of_tensor(pixels)
        with inference(rows):
            return torch.cat([i + d for _, i, d in changes(self._one_pass, rows)], dim=2)

    def _one_pass(self, pixels: Tensor) -> Tensor:
        """One pass of the network: T̂ − I for pictures of any size, float32 ``[b 3 h w]``.

        Raises:
            ImageError: the network overflowed.
        """
        h, w = pixels.shape[2:]
        weight = next(self.network.parameters())
        x = F.pad(pixels, (0, max(0, SMALLEST - w), 0, max(0, SMALLEST - h)), mode="replicate")
        x = x.to(weight.device, weight.dtype)
        change = (self.network(x).transmission - x)[:, :, :h, :w].to(pixels)
        if not change.isfinite().all():
            raise ImageError(
                f"the network overflowed in {weight.dtype} on a picture of {w}×{h} pixels; load "
                "the model with dtype=torch.float32"
            )
        return change


@contextmanager
def inference(rows: RowReader) -> Iterator[None]:
    """Inference mode, with an ImageError if memory runs out."""
    try:
        with torch.inference_mode():
            yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ImageError(
            f"not enough memory for a picture of {rows.width}×{rows.height} pixels; close other "
            "programs, or make the picture smaller"
        ) from error


def load_derefl(
    source: str | Path = "derefl-base",
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> ReflectionRemover:
    """Load a model that removes reflections.

    For several processes, use ``multiprocessing.get_context("spawn")`` and load the model in each
    process. A forked process hangs if the parent has used torch.

    Args:
        source: a name from ``derefl models``, a ``.safetensors`` file, a folder, or a Hub repo id
            ``org/name``.
        revision, cache_dir, token, local_files_only, force_download: as in huggingface_hub; ignored
            for local weights.
        device: device of the model, for example ``"cuda"``; None means the CPU.
        dtype: dtype of the weights, for example ``"float16"``; None means float32.

    Raises:
        ModelNotFoundError: no such name, file, folder or repo.
        DownloadError: the download failed or was refused.
        CheckpointError: the weights are damaged or have another architecture.
        ConfigError: an invalid device or dtype.
    """
    network = load_model(
        source,
        kind="derefl",
        build=lambda config: DeRefl(DeReflConfig(**config)),
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
        device=device,
        dtype=dtype,
    )
    return ReflectionRemover(network)
