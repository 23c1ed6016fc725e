"""``derefl evaluate names``: names of objects as queries, without captions."""

import argparse
import json
import sys
from pathlib import Path

from derefl.commands.evaluate_hashing import add_bits, add_model_options, score_table
from derefl.commands.options import whole_number, words
from derefl.errors import ConfigError

HELP = "search by the names of ImageNet's classes"

DESCRIPTION = """Search pictures by the names of their objects, and names by pictures, and score the
results: R@1, R@5, R@10 in percent and the median rank of the first right answer.

The file names in DIR begin with a WordNet synset, n02084071_…, as in ImageNet and DUTS. Other files
are skipped. Each synset is one query: its first word (needs derefl[train], for timm's names)."""

EXAMPLES = """examples:
  derefl evaluate names --data DUTS-TR/ --held-back
  derefl evaluate names --data DUTS-TR/ --held-back --template "a photo of a {}" --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``names``."""
    parser.add_argument("--data", metavar="DIR", type=Path, required=True)
    parser.add_argument(
        "--held-back",
        action="store_true",
        help="only the pictures of DIR that are not used in training",
    )
    parser.add_argument(
        "--template",
        metavar="TEXT",
        type=words,
        default="a {}",
        help="the queries, with {} for the name (default: %(default)s)",
    )
    add_bits(parser)
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, help="for random codes (default: %(default)s)"
    )
    add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from derefl.hashing.hasher import load_lcdh_student
    from derefl.hashing.learning.corpus import EVERY_NAMED, named_pictures
    from derefl.hashing.learning.evaluate import evaluate_names
    from derefl.hashing.learning.recall import TIE_RULE

    if "{}" not in args.template:
        raise ConfigError(f"got the template {args.template!r}, expected a {{}} for the name in it")
    named = named_pictures(args.data)[:: EVERY_NAMED if args.held_back else 1]
    hasher = load_lcdh_student(args.model, bits=max(args.bits), device=args.device)
    texts = [args.template.replace("{}", name) for _, name in named]  # other braces are text
    report = evaluate_names(
        hasher, [path for path, _ in named], texts, bits=args.bits, seed=args.seed, progress=True
    )
    print(
        f"{args.model} on {args.data}, {report['n_images']} pictures, {report['n_texts']} names, "
        f"{args.template!r}; ties: {TIE_RULE}",
        file=sys.stderr if args.json else sys.stdout,
    )
    print(*([json.dumps(report)] if args.json else score_table(report)), sep="\n")
    return 0
