"""``derefl evaluate online``: the search quality of codes while the model learns."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derefl.commands.evaluate_hashing import BITS, add_data_options, cell
from derefl.commands.options import add_overwrite, whole_number

if TYPE_CHECKING:
    from derefl.hashing.learning.protocol import Learner, Round
    from derefl.hashing.learning.streams import Stream

DESCRIPTION = """Let a model learn from a stream of chunks, and measure mAP@all after each.

Two databases are scored: hashed (each item once, by the student of its round, never re-hashed) and
learned (from picture, text and labels, as online papers do). Queries are drawn first, held back,
and hashed by the present student; those whose class has not come yet do not count.

With --captions a picture comes with its first caption, and its second one asks for it."""

EXAMPLES = """examples:
  derefl evaluate online --images corel5k/images --labels corel5k/tags.csv \\
      --themes-per-chunk 10 --plot corel5k.png
  derefl evaluate online --images flickr8k/images --captions flickr8k/captions.csv \\
      --split flickr8k/train.txt --chunk-size 1000
"""


def add_parser(wings: Any) -> None:
    """Add ``online`` to the subcommands."""
    online = wings.add_parser(
        "online",
        help="learn from a stream, scored after each chunk",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add_data_options(online)
    online.add_argument(
        "--teacher", metavar="NAME", default="lcdh-teacher", help="default: %(default)s"
    )
    online.add_argument(
        "--bits", metavar="K", type=int, choices=BITS, default=64, help="default: %(default)s"
    )
    chunks = online.add_mutually_exclusive_group()
    chunks.add_argument(
        "--chunk-size",
        metavar="N",
        type=int,
        default=2000,
        help="pairs a chunk, in random order (default: %(default)s)",
    )
    chunks.add_argument(
        "--themes-per-chunk",
        metavar="N",
        type=int,
        help="class by class instead: so many whole themes a chunk",
    )
    online.add_argument(
        "--hide-labels", action="store_true", help="use the labels to score, not to learn"
    )
    online.add_argument(
        "--anchors",
        metavar="N",
        type=whole_number(0),
        default=512,
        help="earlier pairs to keep and learn from again, 0 for none (default: %(default)s)",
    )
    online.add_argument("--plot", metavar="PNG", type=Path, help="also draw the rounds")
    add_overwrite(online)
    online.set_defaults(run=run_online)


def run_online(args: argparse.Namespace) -> int:
    """Stream the data through a learner, and print one line per round."""
    from tqdm import tqdm

    from derefl.hashing.learning.protocol import check_plot, plot_rounds, run_stream

    if args.plot:
        check_plot(args.plot, args.overwrite)
    stream = make_stream(args)
    protocol = {
        "measure": "mAP@all",
        "order": stream.order,
        "chunks": [len(chunk.images) for chunk in stream.chunks],
        "queries": len(stream.queries.images),
        "seed": args.seed,
        "bits": args.bits,
        "labels_known": stream.labels_known,
        "anchors": args.anchors,
    }
    report: dict[str, Any] = {"model": args.model, "protocol": protocol, "rounds": []}
    if not args.json:
        print(
            f"{args.model}, {args.bits} bits, on {args.captions or args.labels}: "
            f"{len(stream.chunks)} chunks {stream.order}, {protocol['queries']} queries, seed "
            f"{args.seed}, labels {'known' if stream.labels_known else 'not known'} to the learner"
        )
        print(ROUND_HEADER)
    rounds = []
    steps = run_stream(make_learner(args), stream)
    for result in tqdm(steps, total=len(stream.chunks), unit="chunk", leave=False):
        rounds.append(result)
        report["rounds"].append(result.as_json())
        if not args.json:
            tqdm.write(round_line(result))
    if args.json:
        print(json.dumps(report))
    if args.plot:
        plot_rounds(rounds, args.plot, f"{args.model}, {args.bits} bits")
        print(f"written: {args.plot}", file=sys.stderr)
    return 0


def make_stream(args: argparse.Namespace) -> "Stream":
    """The stream that the options describe."""
    from derefl.errors import ConfigError
    from derefl.hashing.learning.captions import read_captions
    from derefl.hashing.learning.labelled import read_labelled
    from derefl.hashing.learning.streams import caption_stream, labelled_stream

    common = {"chunk_size": args.chunk_size, "queries": args.queries, "seed": args.seed}
    if args.labels:
        return labelled_stream(
            read_labelled(args.images, args.labels, args.split),
            themes_per_chunk=args.themes_per_chunk,
            labels_known=not args.hide_labels,
            **common,
        )
    if args.themes_per_chunk is not None or args.hide_labels:
        raise ConfigError("captions have no themes and no labels; use --chunk-size, or --labels")
    return caption_stream(read_captions(args.images, args.captions, args.split), **common)


def make_learner(args: argparse.Namespace) -> "Learner":
    """The student that learns online, and its teacher."""
    from derefl.hashing.hasher import load_lcdh_student
    from derefl.hashing.learning.online import OnlineConfig, OnlineHasher
    from derefl.hashing.teacher_pipeline import load_lcdh_teacher

    student = load_lcdh_student(args.model, bits=args.bits, device=args.device)
    teacher = load_lcdh_teacher(args.teacher, device=args.device)
    return OnlineHasher(student, teacher, OnlineConfig(seed=args.seed, anchors=args.anchors))


ROUND_HEADER = (
    "round    seen  queries  hashed: text→image image→text  learned: text→image image→text"
    "  seconds  peak MB"
)


def round_line(r: "Round") -> str:
    """One round as a line below :data:`ROUND_HEADER`."""
    scores = [cell(of[way]) for of in (r.hashed, r.learned) for way in of]
    memory = f"{r.peak_memory_mb:9.0f}" if r.peak_memory_mb is not None else f"{'–':>9}"
    return (
        f"{r.number:5}{r.seen:8}{r.queries:9}{scores[0]:>20}{scores[1]:>11}{scores[2]:>21}"
        f"{scores[3]:>11}{r.seconds:9.1f}{memory}"
    )
