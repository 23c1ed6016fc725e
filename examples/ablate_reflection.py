"""Compare recipes of the reflection network at equal core-time.

    python examples/ablate_reflection.py --photos DIR --real DIR --val NAME=DIR … --out runs/a

Each variant trains for ``--minutes`` with the same seed on the same pairs. Then all variants are
evaluated on the same validation pictures. Run each process on its own core. Needs derefl[train].
Repeat the command to resume a stopped comparison. The table is in dB: the gain on each validation
set with its standard error over scenes, then the PSNR of clean photographs.
"""

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

import torch

from derefl import load_derefl
from derefl.reflection.learning.train import TrainConfig, train
from derefl.training.config import read_config

VARIANTS: dict[str, list[str]] = {
    "base": [],
    "base, seed 1": ["run.seed=1"],
    "reorganise: none": ['model.reorganise="none"'],
    "no attention": ["model.windows=[0, 0, 0, 0, 0]"],
    "targets from T̂": ["loss.estimated_targets=true"],
    "plain loss": ["loss.aligned=0", "loss.tone=0"],
    "no alignment": ["loss.aligned=0"],
    "no tone term": ["loss.tone=0"],
    "no log error": ["loss.log_error=0"],
    "backbone: frozen": ["run.backbone_rate=0"],
    "real share 0": ["pairs.real_share=0", "pairs.transplant=0", "pairs.real_scene=0"],
    "real share 0.8": ["pairs.real_share=0.8"],
    "no transplant": ["pairs.transplant=0"],
    "only screen": ["synthesis.recipes=[1, 0, 0, 0]"],
    "no clean pictures": ["synthesis.clean=0"],
    "no glass": ["synthesis.glass=0"],
    "no compression": ["synthesis.compress=0"],
}


def main() -> None:
    """Run the remaining variants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", nargs="+", required=True, metavar="DIR")
    parser.add_argument("--real", nargs="+", required=True, metavar="DIR")
    parser.add_argument("--val", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--start", metavar="NAME", help="weights to start from")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="of all variants")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = {}
    for name in options.only:
        out = options.out / re.sub(r"\W+", "-", name)
        config = read_config(TrainConfig, None, [*options.set, *VARIANTS[name]])
        pairs = replace(config.pairs, photos=tuple(options.photos), real=tuple(options.real))
        run = replace(config.run, minutes=options.minutes, validation=tuple(options.val))
        run = replace(run, validate_every=10**9)  # only at the end
        start = load_derefl(options.start).network if options.start else None
        train(replace(config, pairs=pairs, run=run), out, torch.device("cpu"), start)
        records = map(json.loads, (out / "log.jsonl").read_text().splitlines())
        tables[name] = [r["kinds"] for r in records if r["event"] == "validation"][-1]
    kinds = [k for k in next(iter(tables.values())) if not k.startswith(("clean", "blurred"))]
    print("| variant | " + " | ".join([*kinds, "clean"]) + " |")
    print("| --- " * (len(kinds) + 2) + "|")
    for name, table in tables.items():
        gains = [f"{table[k]['gain']:+.2f} ± {table[k]['error']:.2f}" for k in kinds]
        print(f"| {name} | " + " | ".join([*gains, f"{table['clean']['psnr']:.1f}"]) + " |")


if __name__ == "__main__":
    main()
