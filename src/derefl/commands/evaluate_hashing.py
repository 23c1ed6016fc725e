"""``derefl evaluate hashing``: the search quality of codes."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from derefl.commands.bench import table
from derefl.commands.options import add_device, add_json, add_model, whole_number
from derefl.errors import ConfigError
from derefl.hashing.codes import BITS

HELP = "search between pictures and texts"

DESCRIPTION = """Search pictures by texts and texts by pictures, and score the results.

With --captions: R@1, R@5, R@10 in percent and the median rank, in both directions, for codes of
every length and for the real-valued features. With --labels: mAP@all, mAP@50, precision@N and
precision-recall by Hamming radius; pictures that share a label are relevant. Random codes are
always scored. --baselines adds LSH, ITQ and CCA + ITQ on the same features.

Ties count with their expected value over all orders. Codes of the database come from pictures or
texts alone."""

EXAMPLES = """examples:
  derefl evaluate hashing --images flickr8k/images --captions flickr8k/captions.csv \\
      --split flickr8k/dev.txt --train-split flickr8k/train.txt --baselines --json
  derefl evaluate hashing --model lcdh-teacher --teacher --images flickr8k/images \\
      --captions flickr8k/captions.csv --split flickr8k/dev.txt
  derefl evaluate hashing --images corel5k/images --labels corel5k/tags.csv --queries 500
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``hashing``."""
    add_data_options(parser, required=True)
    add_bits(parser)
    parser.add_argument(
        "--teacher",
        action="store_true",
        help="--model is a teacher: score its unimodal codes and features (needs derefl[train])",
    )
    parser.add_argument("--baselines", action="store_true", help="also LSH, ITQ and CCA + ITQ")
    parser.add_argument(
        "--train-split",
        metavar="FILE",
        type=Path,
        help="pictures to fit the baselines on (default: the evaluated pictures, an advantage for "
        "the baselines)",
    )


def add_data_options(command: Any, *, required: bool) -> Any:
    """Add the options of data, split and model; the group of the data is returned."""
    command.add_argument(
        "--images", metavar="DIR", type=Path, required=required, help="folder of the pictures"
    )
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--captions", metavar="CSV", type=Path, help="columns image,caption; one caption per row"
    )
    what.add_argument(
        "--labels",
        metavar="CSV",
        type=Path,
        help="columns image, a text (caption, text or tags), and labels or theme",
    )
    command.add_argument(
        "--split", metavar="FILE", type=Path, help="only these pictures; one name per line"
    )
    command.add_argument(
        "--queries", metavar="N", type=int, help="number of queries (default: a tenth)"
    )
    command.add_argument(
        "--seed", type=whole_number(0), default=0, help="random seed (default: %(default)s)"
    )
    add_model_options(command)
    return what


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the model, its device, and the output format."""
    add_model(command, "lcdh-student")
    add_device(command)
    add_json(command)


def add_bits(command: argparse.ArgumentParser) -> None:
    """Add ``--bits`` with several lengths."""
    command.add_argument(
        "--bits",
        metavar="K",
        type=int,
        nargs="+",
        choices=BITS,
        default=list(BITS),
        help="code lengths (default: 16 32 64 128)",
    )


def run(args: argparse.Namespace) -> int:
    """Read the data, load the model, measure and print."""
    from derefl.hashing.hasher import load_lcdh_student
    from derefl.hashing.learning.captions import read_captions
    from derefl.hashing.learning.evaluate import evaluate_captions, evaluate_labels
    from derefl.hashing.learning.labelled import read_labelled

    if args.captions and args.queries is not None:
        raise ConfigError(
            "got --queries with --captions, where all pictures and captions are queries; leave out "
            "--queries"
        )
    if args.train_split and not args.baselines:
        raise ConfigError("got --train-split without baselines to fit; add --baselines")
    load: Any = load_lcdh_student
    if args.teacher:
        from derefl.hashing.teacher_pipeline import load_lcdh_teacher as load
    read: Any = read_captions if args.captions else read_labelled
    measure: Any = evaluate_captions if args.captions else evaluate_labels
    table = args.captions or args.labels
    data = read(args.images, table, args.split)
    train = read(args.images, table, args.train_split) if args.train_split else None
    report = measure(
        load(args.model, bits=max(args.bits), device=args.device),
        data,
        train=train,
        bits=args.bits,
        baselines=args.baselines,
        seed=args.seed,
        progress=True,
        **({} if args.captions else {"queries": args.queries}),
    )
    if args.labels:
        report = {"model": args.model, **report}
    # The JSON report of captions has only the agreed keys, so its conventions go to stderr.
    stream = sys.stderr if args.json else sys.stdout
    print(*conventions(args, report), sep="\n", file=stream)
    if args.json:
        print(json.dumps(report))
    else:
        print(*score_table(report), sep="\n")
    return 0


def conventions(args: argparse.Namespace, report: dict[str, Any]) -> list[str]:
    """Lines with the conventions, which readers need for a comparison with other numbers."""
    from derefl.hashing.learning.evaluate import DATABASE
    from derefl.hashing.learning.recall import TIE_RULE

    if args.captions:
        size = f"{report['n_images']} pictures, {report['n_texts']} captions"
    else:
        size = f"{report['n_queries']} queries, {report['n_database']} in the database"
    lines = [
        f"{args.model} on {args.captions or args.labels}, {size}, seed {args.seed}",
        f"ties: {TIE_RULE}; database: {DATABASE}",
    ]
    if args.baselines:
        on = args.train_split or "the evaluated pictures, an advantage for the baselines"
        lines.append(f"baselines fitted on {on}")
    return lines


def score_table(report: dict[str, Any]) -> list[str]:
    """The scores of a report, one line per code length and direction."""
    results = [(f"{bits} bits", result) for bits, result in report["codes"].items()]
    results.append(("float", report["float"]))
    for name, lengths in report["baselines"].items():
        label = name.replace("_", " + ").upper() if name != "random" else name
        results += [(f"{label}, {bits}", result) for bits, result in lengths.items()]
    rows = []
    for way in ("text_to_image", "image_to_text"):
        for name, result in results:
            of = result[way]
            points = ("1", "10", "100", "1000") if "map" in of else ()
            scores = {key: value for key, value in of.items() if key.startswith(("r@", "m"))}
            scores |= {f"P@{n}": of["precision"][n] for n in points if n in of["precision"]}
            shown = {key: "–" if value is None else value for key, value in scores.items()}
            rows.append({"codes": name, "search": way.replace("_to_", "→"), **shown})
    return table(rows)
