"""Pictures and texts encoded per second, beside open_clip's ViT-B-32: needs ``derefl[train]``.

ViT-B-32 has random weights, which does not change its speed. Both run in float32 on the CPU.
"""

import argparse
import json
import time

import open_clip
import torch

from derefl import load_lcdh_student
from derefl.commands.bench import TEXT, table
from derefl.commands.options import whole_number


def parser():
    """The options."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--model", metavar="NAME", default="lcdh-student")
    result.add_argument("--clip", metavar="NAME", default="ViT-B-32", help="a model of open_clip")
    result.add_argument("--threads", type=whole_number(1), default=1)
    result.add_argument("--batches", type=whole_number(1), nargs="+", default=[1, 16])
    result.add_argument("--seconds", type=float, default=1, help="to measure each number for")
    result.add_argument("--json", action="store_true")
    return result


def student(name):
    """Functions from a batch size to codes, for pictures and for texts."""
    hasher = load_lcdh_student(name)
    side = hasher.config.image_size
    return {
        "pictures": lambda n: hasher.encode_image(torch.rand(n, 3, side, side), batch_size=n),
        "texts": lambda n: hasher.encode_text([TEXT] * n, batch_size=n),
    }


def clip(name):
    """The same for open_clip: features, tokenizer included."""
    model = open_clip.create_model(name).eval()
    tokenize = open_clip.get_tokenizer(name)
    side = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
    return {
        "pictures": lambda n: model.encode_image(torch.rand(n, 3, side, side)),
        "texts": lambda n: model.encode_text(tokenize([TEXT] * n)),
    }


def rate(encode, batch, seconds):
    """Items per second, after a warm-up."""
    encode(batch)
    start, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds or not done:
        encode(batch)
        done += batch
    return done / passed


def main(arguments=None):
    """Measure and print."""
    args = parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        rows = [
            {
                "model": name,
                "items": items,
                **{f"batch {b}": rate(encode, b, args.seconds) for b in args.batches},
            }
            for name, encoders in ((args.model, student(args.model)), (args.clip, clip(args.clip)))
            for items, encode in encoders.items()
        ]
    if args.json:
        print(json.dumps({"threads": args.threads, "per_second": rows}))
        return
    print(f"items per second, {args.threads} threads")
    print(*table(rows), sep="\n")


if __name__ == "__main__":
    main()
