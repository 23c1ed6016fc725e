"""What a user calls: pictures in, pictures without their reflections out."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, overload

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from derefl.errors import ConfigError, ImageError, ModelNotFoundError
from derefl.imaging.deep import DeepPicture, Picture
from derefl.imaging.metadata import upright
from derefl.imaging.strips import Rows, cut, joined
from derefl.imaging.tensors import from_tensor
from derefl.reflection.big import changes
from derefl.reflection.checks import check_tensor, not_a_picture
from derefl.reflection.memory import tile_side, within_memory
from derefl.reflection.model import SMALLEST, DeRefl, DeReflConfig, Layers
from derefl.zoo import load_model
from derefl.zoo.locate import REPO_ID, expanded, found, looks_local

P = TypeVar("P", Image.Image, DeepPicture)
R = TypeVar("R")


class Separation(NamedTuple):
    """A photo taken apart.

    Attributes:
        transmission: the scene behind the glass, what ``dereflect`` returns.
        reflection: what was taken away, clip(I − T̂, 0, 1). The network's residual is signed, for
            it also brightens; a picture shows only what it darkened (our choice).
    """

    transmission: Picture
    reflection: Picture


DETAILS = ("auto", "full")

Part = Callable[[Tensor, Tensor], Tensor]
"""What of I and T̂ is wanted as a picture."""


def transmitted(pixels: Tensor, clean: Tensor) -> Tensor:
    """T̂."""
    return clean


def reflected(pixels: Tensor, clean: Tensor) -> Tensor:
    """I − T̂."""
    return pixels - clean


class ReflectionRemover(DeRefl):
    """A :class:`~derefl.reflection.model.DeRefl` that also takes and returns PIL pictures.

    It keeps nothing of a picture, so several threads may share it. Called with a tensor it is the
    plain network, and refuses what that was not made for.
    """

    def __call__(self, x: Tensor) -> Layers:
        """The network on sRGB tensors, float ``[b 3 h w]`` in [0, 1], h and w ≥ 16.

        Raises:
            ImageError: another type, shape, range or device, or NaN.
        """
        check_tensor(x, next(self.parameters()))
        return super().__call__(x)

    @overload
    def dereflect(self, images: P, *, detail: str = "auto") -> P: ...
    @overload
    def dereflect(self, images: Sequence[P], *, detail: str = "auto") -> list[P]: ...

    def dereflect(self, images: Any, *, detail: str = "auto") -> Any:
        """Remove the reflections from a photo, or from each photo of a list.

        Args:
            images: a PIL picture or a list of them, of any size from 1×1 and of mode 1, L, LA, P,
                RGB, RGBA, CMYK, I;16 or I; or :class:`~derefl.imaging.deep.DeepPicture`.
            detail: how closely a photo of more than half a megapixel is looked at. ``auto``: at
                about that size, and what changes there is carried to the full one along its edges.
                ``full``: pixel by pixel too, in tiles, which takes as long as it is large.

        Returns:
            A picture, or a list as long, of the same size and mode, with the alpha, ICC profile,
            EXIF and other ``info`` of the input. One whose EXIF says that it is rotated comes back
            with its pixels turned upright and EXIF saying so; width and height may then swap.
            :func:`~derefl.imaging.tensors.from_tensor` says what becomes of each mode.

        Raises:
            ImageError: not a PIL picture, damaged, of another mode, or the network overflowed or
                memory ran out.
            ConfigError: there is no such detail.
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
        """Like :meth:`dereflect`, returning the reflection too: one :class:`Separation` a photo."""
        check_detail(detail)
        if isinstance(images, list | tuple):
            return [self._separate(image, detail) for image in images]
        return self._separate(images, detail)

    def _separate(self, image: Any, detail: str) -> Separation:
        return Separation(*self._pictures(image, detail, transmitted, reflected))

    def _pictures(self, image: Any, detail: str, *parts: Part) -> list[Any]:
        """These parts of a photo, each a picture like it."""
        if not isinstance(image, Image.Image | DeepPicture):
            raise not_a_picture(image)
        image = upright(image)
        rows = Rows.of_picture(image)

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
        """T̂ of pictures of any size, float32 ``[b 3 h w]`` in [0, 1], not clipped.

        The network looks at a picture at its own and at half its size, and the two changes are
        averaged. What it changed is added to the picture itself, so that half precision rounds the
        change but never the picture.

        Raises:
            ImageError: the network overflowed or memory ran out.
            ConfigError: there is no such detail.
        """
        check_detail(detail)
        rows = Rows.of_tensor(pixels)

        def work(side: int) -> Tensor:
            return torch.cat([i + d for _, i, d in self._changes(rows, detail, side)], dim=2)

        return self._within_memory(work, rows)

    def _within_memory(self, work: Callable[[int], R], rows: Rows) -> R:
        side = tile_side(next(self.parameters()).device, self.config.dims[0])
        with torch.inference_mode():
            return within_memory(work, side, rows.width, rows.height)

    def _changes(self, rows: Rows, detail: str, side: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Top, I and T̂ − I of one strip after the other."""
        for band, change in changes(self.look, rows, detail, side):
            for top, bottom in rows.strips(band, band + change.shape[2]):
                yield top, rows.read(top, bottom), change[:, :, top - band : bottom - band]

    def look(self, pixels: Tensor) -> Tensor:
        """One pass of the network: T̂ − I of pictures of any size, float32 ``[b 3 h w]``.

        Raises:
            ImageError: it overflowed.
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


class Together(ReflectionRemover):
    """Several removers as one: the mean of what each of them sees.

    Networks err in different ways, and their mean less than either on average (our choice).
    """

    def __init__(self, removers: Sequence[ReflectionRemover]) -> None:
        """
        Args:
            removers: at least one; they may differ in size, not in device and dtype.
        """
        nn.Module.__init__(self)  # without a network of its own
        self.config = max((r.config for r in removers), key=lambda config: config.dims[0])
        self.removers = nn.ModuleList(removers)

    def forward(self, x: Tensor) -> Layers:
        """The mean of the :class:`~derefl.reflection.model.Layers` of all."""
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
    """Load a model that removes reflections, ready to use.

    With several processes, start them by ``multiprocessing.get_context("spawn")`` and load the
    model in each: a forked process hangs once the parent has used torch.

    Args:
        source: a name that ``derefl models`` lists, a ``.safetensors`` file, a folder, or a Hub
            repo id ``org/name``. Several with ``+`` between them, ``derefl-small+derefl-base``,
            look at each picture together: better on average than each, and as slow as all.
        revision, cache_dir, token, local_files_only, force_download: as in huggingface_hub; of no
            effect on weights that are already here.
        device: where the model computes, for example ``"cuda"``; None is the CPU.
        dtype: of its weights, for example ``"float16"``; None is float32.

    Raises:
        ModelNotFoundError: no such name, file, folder or repo.
        DownloadError: the Hub cannot be reached, or refuses.
        CheckpointError: the weights are damaged or of another architecture.
        ConfigError: there is no such device or dtype.
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
    return removers[0] if len(removers) == 1 else Together(removers).eval()


def load_one(source: str | Path, **options: Any) -> ReflectionRemover:
    """The remover of one checkpoint; options as for :func:`~derefl.zoo.load_model`."""
    model = load_model(
        source,
        kind="derefl",
        build=lambda config: ReflectionRemover(DeReflConfig(**config)),
        **options,
    )
    return cast(ReflectionRemover, model)


def sources(source: str | Path) -> list[str | Path]:
    """The models that a source names: itself, or all that stand between its ``+``.

    A missing file whose path has a ``+`` in it is one source, unless a part of it is found.

    Raises:
        ModelNotFoundError: nothing stands before, behind or between them.
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
    """Refuse a detail that does not exist."""
    if detail not in DETAILS:
        raise ConfigError(f"got detail={detail!r}, expected one of {', '.join(DETAILS)}")
