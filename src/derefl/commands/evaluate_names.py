"""``derefl evaluate names``: names of objects as queries, without captions."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from derefl.commands.evaluate_hashing import add_model_options, caption_table
from derefl.commands.options import whole_number, words
from derefl.hashing.codes import BITS

DESCRIPTION = """Search pictures by the names of what is on them, and names by pictures, and score
what is found: R@1, R@5, R@10 in percent and the median rank of the best placed right answer.

File names of DIR begin with a WordNet synset, n02084071_…, as those of ImageNet and DUTS do; others
are left out. Each synset asks once, by its first word (needs derefl[train], for timm's names)."""

EXAMPLES = """examples:
  derefl evaluate names --data DUTS-TR/ --held-back
  derefl evaluate names --data DUTS-TR/ --held-back --template "a photo of a {}" --json
"""


def add_parser(wings: Any) -> None:
    """Add ``names`` to the subcommands."""
    names = wings.add_parser(
        "names",
        help="search by the names of ImageNet's classes",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    names.add_argument("--data", metavar="DIR", type=Path, required=True)
    names.add_argument(
        "--held-back",
        action="store_true",
        help="only the pictures of DIR that training holds back for this",
    )
    names.add_argument(
        "--template",
        metavar="TEXT",
        type=words,
        default="a {}",
        help="of the queries (default: %(default)s)",
    )
    names.add_argument("--bits", metavar="K", type=int, nargs="+", choices=BITS, default=list(BITS))
    names.add_argument(
        "--seed", type=whole_number(0), default=0, help="of random codes (default: %(default)s)"
    )
    add_model_options(names)
    names.set_defaults(run=run_names)


def run_names(args: argparse.Namespace) -> int:
    """Measure and print."""
    from derefl.errors import ConfigError, DataError
    from derefl.hashing.hasher import load_lcdh_student
    from derefl.hashing.learning.corpus import EVERY_NAMED, named_pictures
    from derefl.hashing.learning.evaluate import evaluate_names
    from derefl.hashing.learning.recall import TIE_RULE

    if "{}" not in args.template:
        raise ConfigError(f"got the template {args.template!r}, expected a {{}} for the name in it")
    named = named_pictures(args.data)[:: EVERY_NAMED if args.held_back else 1]
    if not named:
        raise DataError(
            f"no picture in {args.data} has a name that begins with a WordNet synset of ImageNet, "
            "expected names like n02084071_1.jpg"
        )
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
    print(json.dumps(report) if args.json else caption_table(report))
    return 0
