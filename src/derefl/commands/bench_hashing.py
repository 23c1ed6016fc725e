"""``derefl bench hashing``: how fast a student encodes, beside open_clip's ViT-B-32."""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from derefl.commands.bench_machine import in_words, machine

TEXT = "a brown dog runs along the beach with a red ball in its mouth"


@dataclass(frozen=True)
class Tower:
    """Half of a model: ``encode(n)`` works on n items, by means of these modules."""

    encode: Callable[[int], Any]
    modules: tuple[Any, ...]


def add_parser(subparsers: Any) -> None:
    """Add ``hashing`` to what can be measured."""
    parser = subparsers.add_parser(
        "hashing",
        help="pictures and texts encoded a second, beside open_clip",
        description="Encode noise and a caption, in float32; the best of several runs after a "
        "warm-up. With --compare the same with open_clip's ViT-B-32, random weights, in the same "
        "run (needs derefl[train]).",
    )
    parser.add_argument("--model", metavar="NAME", default="lcdh-student")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="default: 1 16")
    parser.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--compare", action="store_true", help="also open_clip's ViT-B-32")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    import torch

    from derefl.errors import ConfigError

    if min(args.threads, args.runs, *args.batches) < 1:
        raise ConfigError("expected --threads, --runs and --batches of at least 1")
    torch.set_num_threads(args.threads)
    towers = {args.model: student_towers(args.model)}
    if args.compare:
        towers["open_clip ViT-B-32"] = clip_towers()
    report: dict[str, Any] = {
        "machine": machine(),
        "threads": args.threads,
        "dtype": "float32",
        "models": {},
    }
    with torch.inference_mode():
        for name, tower in towers.items():
            rates: dict[str, dict[str, float]] = {"images_per_s": {}, "texts_per_s": {}}
            for batch in args.batches:
                rates["images_per_s"][str(batch)] = rate(tower["picture"].encode, batch, args.runs)
                rates["texts_per_s"][str(batch)] = rate(tower["text"].encode, batch, args.runs)
            report["models"][name] = rates
    if args.json:
        print(json.dumps(report))
        return 0
    print(f"{in_words(report['machine'])}\n{args.threads} threads, float32")
    for name, rates in report["models"].items():
        for what, of in rates.items():
            cells = ", ".join(f"batch {b}: {value:.1f}" for b, value in of.items())
            print(f"{name:20} {what.replace('_per_s', '/s'):10} {cells}")
    return 0


def student_towers(name: str) -> dict[str, Tower]:
    """The student's codes of n tensors (``picture``), and of n texts (``text``), words included."""
    import torch

    from derefl.hashing.hasher import load_lcdh_student

    hasher = load_lcdh_student(name, bits=64)
    side = hasher.config.image_size

    def image(n: int) -> Any:
        return hasher.encode_image(torch.rand(n, 3, side, side), batch_size=n)

    def text(n: int) -> Any:
        return hasher.encode_text([TEXT] * n, batch_size=n)

    return {
        "picture": Tower(image, (hasher.image, hasher.image_hash)),
        "text": Tower(text, (hasher.text, hasher.text_hash)),
    }


def clip_towers() -> dict[str, Tower]:
    """open_clip's features of n tensors, and of n texts, words included."""
    import torch

    from derefl.errors import MissingExtraError

    try:
        import open_clip
    except ImportError as error:
        raise MissingExtraError("open_clip_torch", "train", "the comparison") from error
    model: Any = open_clip.create_model("ViT-B-32").eval()
    tokenize: Any = open_clip.get_tokenizer("ViT-B-32")

    def image(n: int) -> Any:
        return model.encode_image(torch.rand(n, 3, 224, 224))

    def text(n: int) -> Any:
        return model.encode_text(tokenize([TEXT] * n))

    return {
        "picture": Tower(image, (model.visual,)),
        "text": Tower(text, (model.transformer, model.token_embedding, model.ln_final)),
    }


def rate(encode: Callable[[int], Any], batch: int, runs: int) -> float:
    """Items a second in the best of ``runs`` calls, each at least a tenth of a second long."""
    encode(batch)
    best = 0.0
    for _ in range(runs):
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < 0.1:
            encode(batch)
            done += batch
        best = max(best, done / (time.perf_counter() - start))
    return best
