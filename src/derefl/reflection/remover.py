"""The Python interface: remove reflections from pictures."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, overload

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from derefl.errors import ConfigError, ImageError, ModelNotFoundError
from derefl.imaging.metadata import upright
from derefl.imaging.sixteen_bit import Picture, SixteenBitPicture
from derefl.imaging.strips import cut, joined
from derefl.imaging.tensors import from_tensor
from derefl.reflection.checks import check_tensor, not_a_picture
from derefl.reflection.model import SMALLEST, DeRefl, DeReflConfig, Layers
from derefl.reflection.tiling.any_size import changes
from derefl.reflection.tiling.row_reader import RowReader
from derefl.reflection.tiling.tile_size import tile_side, within_memory
from derefl.zoo import load_model
from derefl.zoo.locate import REPO_ID, expanded, found, looks_local

P = TypeVar("P", Image.Image, SixteenBitPicture)
R = TypeVar("R")


class Separation(NamedTuple):
    """A photo separated into two pictures.

    Attributes:
        transmission: the scene behind the glass, the result of ``dereflect``.
        reflection: the removed reflection, clip(I − T̂, 0, 1). Where the network brightens a pixel,
            the reflection is 0.
    """

    transmission: Picture
    reflection: Picture


DETAILS = ("auto", "full")

Part = Callable[[Tensor, Tensor], Tensor]
"""A function from I and T̂ to the requested picture."""


def transmitted(pixels: Tensor, clean: Tensor) -> Tensor:
    """T̂."""
    return clean


def reflected(pixels: Tensor, clean: Tensor) -> Tensor:
    """I − T̂."""
    return pixels - clean


class ReflectionRemover(DeRefl):
    """A :class:`~derefl.reflection.model.DeRefl` with methods for PIL pictures.

    A remover keeps no state between pictures, so several threads may share it. A call with a
    tensor runs the network, after a check of the input.
    """

    def __call__(self, x: Tensor) -> Layers:
        """Run the network on an sRGB tensor, float ``[b 3 h w]`` in [0, 1], h and w ≥ 16.

        Raises:
            ImageError: wrong type, shape, range or device, or NaN.
        """
        check_tensor(x, next(self.parameters()))
        return super().__call__(x)

    @overload
    def dereflect(self, images: P, *, detail: str = "auto") -> P: ...
    @overload
    def dereflect(self, images: Sequence[P], *, detail: str = "auto") -> list[P]: ...

    def dereflect(self, images: Any, *, detail: str = "auto") -> Any:
        """Remove the reflections from a photo or a list of photos.

        Args:
            images: a PIL picture or a list of pictures, any size from 1×1, mode 1, L, LA, P, RGB,
                RGBA, CMYK, I;16 or I; or :class:`~derefl.imaging.sixteen_bit.SixteenBitPicture`.
            detail: mode for photos of more than half a megapixel. ``auto``: the network sees the
                photo at about this size, and a guided filter transfers the change to full size.
                ``full``: the network also sees the photo at full size, in tiles; the time grows
                with the size.

        Returns:
            A picture or a list of pictures with the size, mode, alpha, ICC profile, EXIF and other
            ``info`` of the input. The pixels are turned as the EXIF orientation says, and the
            orientation becomes 1; width and height may swap.
            :func:`~derefl.imaging.tensors.from_tensor` has details for each mode.

        Raises:
            ImageError: an input is not a PIL picture, is damaged or has an unsupported mode; the
                network overflowed; or memory ran out.
            ConfigError: unknown ``detail``.
        """
        check_detail(detail)
        if isinstance(images, list | tuple):
            return [self._pictures(image, detail, transmitted)[0] for image in images]
        return self._pictures(images, detail, transmitted)[0]

    @overload
    def separate(self, images: Picture, *, detail: str = "auto") -> Separation: ...
    @overload
    def separate(self, images: Sequence[Picture], *, detail: str = "auto") -> list[Separation]: ...

    def separate(self, images: Any, *, detail: str = "auto") -> Separation | list[Separation]:
        """Like :meth:`dereflect`, but return a :class:`Separation` for each photo."""
        check_detail(detail)
        if isinstance(images, list | tuple):
            return [self._separate(image, detail) for image in images]
        return self._separate(images, detail)

    def _separate(self, image: Any, detail: str) -> Separation:
        return Separation(*self._pictures(image, detail, transmitted, reflected))

    def _pictures(self, image: Any, detail: str, *parts: Part) -> list[Any]:
        """The parts of a photo, each a picture with the photo's mode and metadata."""
        if not isinstance(image, Image.Image | SixteenBitPicture):
            raise not_a_picture(image)
        image = upright(image)
        rows = RowReader.of_picture(image)

        def work(side: int) -> list[Any]:
            pieces: list[list[Any]] = [[] for _ in parts]
            for top, pixels, change in self._changes(rows, detail, side):
                strip = cut(image, top, top + pixels.shape[2])
                clean = (pixels + change).clamp(0, 1)
                for part, into in zip(parts, pieces, strict=True):
                    into.append(from_tensor(part(pixels, clean), strip))
            return [joined(some) for some in pieces]

        return self._within_memory(work, rows)

    def transmission(self, pixels: Tensor, *, detail: str = "auto") -> Tensor:
        """T̂ for pictures of any size, float32 ``[b 3 h w]`` in [0, 1]; T̂ is not clipped.

        The network sees a picture at full and at half size, and both changes are averaged. The
        change is added to the input, so half precision rounds only the change.

        Raises:
            ImageError: the network overflowed or memory ran out.
            ConfigError: unknown ``detail``.
        """
        check_detail(detail)
        rows = RowReader.of_tensor(pixels)

        def work(side: int) -> Tensor:
            return torch.cat([i + d for _, i, d in self._changes(rows, detail, side)], dim=2)

        return self._within_memory(work, rows)

    def _within_memory(self, work: Callable[[int], R], rows: RowReader) -> R:
        side = tile_side(next(self.parameters()).device, self.config.dims[0])
        with torch.inference_mode():
            return within_memory(work, side, rows.width, rows.height)

    def _changes(
        self, rows: RowReader, detail: str, side: int
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield top, I and T̂ − I of each strip."""
        for band, change in changes(self.look, rows, detail, side):
            for top, bottom in rows.strips(band, band + change.shape[2]):
                yield top, rows.read(top, bottom), change[:, :, top - band : bottom - band]

    def look(self, pixels: Tensor) -> Tensor:
        """One pass of the network: T̂ − I for pictures of any size, float32 ``[b 3 h w]``.

        Raises:
            ImageError: the network overflowed.
        """
        h, w = pixels.shape[2:]
        weight = next(self.parameters())
        x = F.pad(pixels, (0, max(0, SMALLEST - w), 0, max(0, SMALLEST - h)), mode="replicate")
        x = x.to(weight.device, weight.dtype)
        change = (super().__call__(x).transmission - x)[:, :, :h, :w].to(pixels)
        if not change.isfinite().all():
            raise ImageError(
                f"the network overflowed in {weight.dtype} on a picture of {w}×{h} pixels; load "
                "the model with dtype=torch.float32"
            )
        return change


class Ensemble(ReflectionRemover):
    """An ensemble: the mean of the outputs of several removers."""

    def __init__(self, removers: Sequence[ReflectionRemover]) -> None:
        """
        Args:
            removers: at least one; sizes may differ, but device and dtype must be equal.
        """
        nn.Module.__init__(self)  # skip DeRefl.__init__, which builds a network
        self.config = max((r.config for r in removers), key=lambda config: config.dims[0])
        self.removers = nn.ModuleList(removers)

    def forward(self, x: Tensor) -> Layers:
        """The mean of the :class:`~derefl.reflection.model.Layers` of all removers."""
        layers = [remover.forward(x) for remover in self.removers]
        return Layers(*(torch.stack(same).mean(dim=0) for same in zip(*layers, strict=True)))


def load_derefl(
    source: str | Path = "derefl-small",
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
            ``org/name``. Several sources with ``+``, like ``derefl-small+derefl-base``, form an
            ensemble: better on average than each model, but as slow as all models together.
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
    options: dict[str, Any] = {
        "revision": revision,
        "cache_dir": cache_dir,
        "token": token,
        "local_files_only": local_files_only,
        "force_download": force_download,
        "device": device,
        "dtype": dtype,
    }
    removers = [load_one(name, **options) for name in sources(source)]
    return removers[0] if len(removers) == 1 else Ensemble(removers).eval()


def load_one(source: str | Path, **options: Any) -> ReflectionRemover:
    """The remover for one checkpoint; options as in :func:`~derefl.zoo.load_model`."""
    model = load_model(
        source,
        kind="derefl",
        build=lambda config: ReflectionRemover(DeReflConfig(**config)),
        **options,
    )
    return cast(ReflectionRemover, model)


def sources(source: str | Path) -> list[str | Path]:
    """Split a source at ``+`` into the sources of the models.

    A path with ``+`` that does not exist is one source, unless a part of it is found.

    Raises:
        ModelNotFoundError: a part before, after or between ``+`` is empty.
    """
    if isinstance(source, Path) or "+" not in source or expanded(source).exists():
        return [source]
    names = [name.strip() for name in source.split("+")]
    if looks_local(source) and not (any(map(found, names)) or all(map(REPO_ID.fullmatch, names))):
        return [source]
    if "" in names:
        raise ModelNotFoundError(
            f"got {source!r}, expected a model on both sides of each '+', as in "
            "'derefl-small+derefl-base'"
        )
    return [*names]


def check_detail(detail: str) -> None:
    """Raise ConfigError for an unknown ``detail``."""
    if detail not in DETAILS:
        raise ConfigError(f"got detail={detail!r}, expected one of {', '.join(DETAILS)}")
