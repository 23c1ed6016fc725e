"""``derefl bench variants``: other ways to compute the same, timed and compared with the usual."""

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from derefl.errors import ConfigError

if TYPE_CHECKING:
    from derefl.reflection.pipeline import ReflectionRemover

VARIANTS = ("float32", "channels_last", "autocast", "bfloat16", "onnx", "compile")


def add_parser(subparsers: Any) -> None:
    """Add ``variants`` and its options."""
    parser = subparsers.add_parser(
        "variants",
        help="half precision, memory layout, onnxruntime and torch.compile",
        description="Time one picture in each variant, the median of the runs after a warm-up, "
        "and compare what comes out with float32. channels_last: weights in that layout; "
        "autocast: bfloat16 where torch thinks it safe; bfloat16: weights too; onnx: what "
        "'derefl export' writes, in onnxruntime on the CPU (needs derefl[onnx]); compile: "
        "torch.compile, whose warm-up takes minutes.",
    )
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=VARIANTS, metavar="VARIANT")
    parser.add_argument("--model", metavar="NAME", default="derefl-small")
    parser.add_argument("--picture", metavar="FILE", help="a photo instead of noise")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), default=(384, 512), help="in pixels"
    )
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print a table."""
    if min(args.size) < 16 or args.runs < 1 or args.threads < 1:
        raise ConfigError("expected --size of at least 16 16, --runs and --threads of at least 1")
    import torch

    from derefl.commands.bench_photo import noise
    from derefl.imaging.files import open_picture
    from derefl.imaging.rgb import to_rgb
    from derefl.imaging.tensors import to_tensor
    from derefl.reflection.pipeline import load_derefl

    torch.set_num_threads(args.threads)
    height, width = args.size
    image = to_rgb(open_picture(args.picture)) if args.picture else noise(width, height)
    x = to_tensor(image.resize((width, height))).to(args.device)
    expected = load_derefl(args.model, device=args.device).transmission(x)
    rows = []
    for variant in args.only:
        model = load_derefl(args.model, device=args.device)
        seconds, got = timed(prepared(model, variant), variant == "autocast", x, args.runs)
        difference = (got.clamp(0, 1) - expected.clamp(0, 1)).abs() * 255
        rows.append(
            {
                "variant": variant,
                "seconds": seconds,
                "mean_difference": difference.mean().item(),
                "worst_difference": difference.max().item(),
            }
        )
    if args.json:
        report = {"model": args.model, "threads": args.threads, "height": height, "width": width}
        print(json.dumps({**report, "variants": rows}))
        return 0
    print(f"{args.model}, {height}×{width} on {args.device} with {args.threads} threads")
    print("                s a picture   difference of 255: mean   worst")
    for row in rows:
        print(
            "{variant:14}  {seconds:11.3f}   {mean_difference:23.3f}   {worst_difference:5.2f}"
            "".format(**row)
        )
    return 0


class InOnnxruntime:
    """The exported model; it takes and gives what ``ReflectionRemover.transmission`` does."""

    def __init__(self, model: "ReflectionRemover") -> None:
        from derefl.reflection.export import graphs
        from derefl.zoo.export import cpu_session, to_onnx

        data, _ = to_onnx(graphs(model).graphs[0], {})
        self.session = cpu_session(data)

    def transmission(self, x: Any) -> Any:
        """Clipped to [0, 1]."""
        import torch

        return torch.from_numpy(self.session.run(["clean"], {"image": x.cpu().numpy()})[0]).to(x)


def prepared(model: "ReflectionRemover", variant: str) -> "ReflectionRemover | InOnnxruntime":
    """The model in a variant; autocast is set where it runs."""
    import torch

    if variant == "onnx":
        return InOnnxruntime(model.cpu())
    if variant == "channels_last":
        return model.to(memory_format=torch.channels_last)
    if variant == "bfloat16":
        return model.to(torch.bfloat16)
    if variant == "compile":
        model.compile()
    return model


def timed(
    model: "ReflectionRemover | InOnnxruntime", autocast: bool, x: Any, runs: int
) -> tuple[float, Any]:
    """Median seconds of a picture after a warm-up, and what came out."""
    import torch

    seconds = []
    with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
        for _ in range(runs + 1):
            start = time.perf_counter()
            got = model.transmission(x)
            got.sum().item()  # waits for the device
            seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[runs // 2], got
