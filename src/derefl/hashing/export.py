"""Export of a student: two ONNX graphs and a tokenizer, for the codes of pictures and texts."""

import copy

import torch
from einops import rearrange
from tokenizers import Tokenizer
from torch import Tensor, nn

from derefl.hashing.fuse_batchnorm import folded
from derefl.hashing.student import HashHead, ImageTower, LCDHStudent, TextTower
from derefl.hashing.tokenizer import PAD, padded, tokenize, tokenizer
from derefl.zoo.export import Export, Graph

OUTPUTS = ("code", "values")
TEXTS = ("a dog runs on the beach", "", "two people in red jackets " * 20, "zzyzx")


class ExportedCoder(nn.Module):
    """A tower and its hash head: packed codes, and the real values before sign."""

    def __init__(self, tower: ImageTower | TextTower, head: HashHead) -> None:
        super().__init__()
        self.tower, self.head = tower, head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Views of pictures or word pieces → uint8 ``[b K/8]`` and float ``[b K]`` in (−1, 1)."""
        tower = self.tower
        values = self.head(tower.of_views(x) if isinstance(tower, ImageTower) else tower(x))
        bits = rearrange((values > 0).int(), "b (byte bit) -> b byte bit", bit=8)
        place = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.int32)
        return (bits * place).sum(dim=2).to(torch.uint8), values


def graphs(model: LCDHStudent) -> Export:
    """The contents of ``derefl export`` for a student; the codes have all of its bits."""
    generator = torch.Generator().manual_seed(0)
    config = model.config
    side = config.image_size
    image = folded(copy.deepcopy(model.image).eval())
    tokens = padded(tokenize(TEXTS, config.vocabulary, config.max_tokens))
    return Export(
        graphs=(
            Graph(
                module=ExportedCoder(image, model.image_hash).eval(),
                input="views",
                outputs=OUTPUTS,
                axes={name: {0: "batch"} for name in ("views", *OUTPUTS)},
                sizes=f"views: float32 [batch, 2, 3, {side}, {side}], sRGB in [0, 1]: the whole "
                "picture and its centre, without a tenth of the width and height on each side",
                samples=tuple(
                    torch.rand(b, 2, 3, side, side, generator=generator) for b in (2, 1, 5)
                ),
                suffix="-image",
            ),
            Graph(
                module=ExportedCoder(model.text, model.text_hash).eval(),
                input="tokens",
                outputs=OUTPUTS,
                axes={"tokens": {0: "batch", 1: "length"}}
                | {name: {0: "batch"} for name in OUTPUTS},
                sizes="tokens: int64 [batch, length], 0 where a text has no more, length of 1 to "
                f"{config.max_tokens}",
                samples=tuple(torch.from_numpy(t) for t in (tokens, tokens[1:2, :1], tokens[:1])),
                suffix="-text",
            ),
        ),
        texts={"-tokenizer.json": tokenizer_json(config.vocabulary, config.max_tokens)},
    )


def tokenizer_json(vocabulary: int, max_tokens: int) -> str:
    """The tokenizer in the format of the library ``tokenizers`` (Python, Rust or JavaScript)."""
    ours = Tokenizer.from_str(tokenizer(vocabulary, max_tokens).to_str())
    ours.enable_padding(pad_id=0, pad_token=PAD)
    return ours.to_str()
