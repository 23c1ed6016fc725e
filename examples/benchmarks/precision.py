"""Half precision and onnxruntime beside float32: time, and how much the picture differs.

``autocast``: bfloat16 where torch considers it safe; ``bfloat16``: the weights too; ``onnx``: the
graph that ``derefl export`` writes, in onnxruntime on the CPU (needs ``derefl[onnx]``).
"""

import argparse
import json

import torch

from derefl import load_derefl
from derefl.commands.bench import median_seconds, table
from derefl.commands.options import whole_number
from derefl.imaging.files import open_picture
from derefl.imaging.tensors import to_tensor
from derefl.reflection.export import graphs
from derefl.zoo.export import cpu_session, to_onnx

VARIANTS = ("float32", "autocast", "bfloat16", "onnx")


def parser():
    """The options."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--only", nargs="+", choices=VARIANTS, default=VARIANTS, metavar="VARIANT")
    result.add_argument("--model", metavar="NAME", default="derefl-base")
    result.add_argument("--picture", metavar="FILE", help="a photo instead of noise")
    result.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(384, 512))
    result.add_argument("--device", default="cpu")
    result.add_argument("--threads", type=whole_number(1), default=2)
    result.add_argument("--runs", type=whole_number(1), default=5)
    result.add_argument("--json", action="store_true")
    return result


def variant_of(name, variant, device):
    """A function from a picture ``[1 3 h w]`` to the picture without its reflection."""
    model = load_derefl(name, device=device)
    if variant == "onnx":
        session = cpu_session(to_onnx(graphs(model.to("cpu").network).graphs[0], {})[0])
        return lambda x: torch.from_numpy(session.run(["clean"], {"image": x.cpu().numpy()})[0])
    if variant == "bfloat16":
        model.to(torch.bfloat16)

    def transmission(x):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=variant == "autocast"):
            return model.transmission(x).cpu()

    return transmission


def main(arguments=None):
    """Measure and print."""
    args = parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    height, width = args.size
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    if args.picture:
        x = to_tensor(open_picture(args.picture).convert("RGB").resize((width, height)))
    x = x.to(args.device)
    expected = variant_of(args.model, "float32", args.device)(x).clamp(0, 1)
    rows = []
    for variant in args.only:
        remove = variant_of(args.model, variant, args.device)
        difference = 255 * (remove(x).clamp(0, 1) - expected).abs()
        rows.append(
            {
                "variant": variant,
                "seconds": median_seconds(lambda work=remove: work(x), args.runs),
                "mean difference of 255": difference.mean().item(),
                "worst": difference.max().item(),
            }
        )
    if args.json:
        print(json.dumps({"model": args.model, "threads": args.threads, "variants": rows}))
        return
    print(f"{args.model}, {height}×{width} on {args.device}, {args.threads} threads")
    print(*table(rows), sep="\n")


if __name__ == "__main__":
    main()
