"""``derefl evaluate online``: the search quality of codes while the model learns."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derefl.commands.evaluate_hashing import add_data_options
from derefl.commands.options import add_overwrite, whole_number
from derefl.errors import ConfigError
from derefl.hashing.codes import BITS
from derefl.hashing.learning.matlab import BENCHMARKS, read_mat

if TYPE_CHECKING:
    from derefl.hashing.learning.protocol import Learner, Round
    from derefl.hashing.learning.streams import Stream

HELP = "learn from a stream, with scores after each chunk"

DESCRIPTION = """Let a model learn from a stream of chunks, and measure mAP@all after each chunk.

Two databases are scored. Hashed: each item once, by the student of its round. Learned: from
picture, text and labels together, as in online papers. Queries are drawn before the stream and
hashed by the current student. A query counts when the stream has had an item of its class.

With --captions a picture comes with its first caption, and its second caption is a query.

With --mat the data are MIRFlickr-25K, IAPR TC-12 or NUS-WIDE in the .mat layouts of DCMH, SCM,
LEMON and DOCH. These files have no words and often no pictures, so the hash heads of the student
learn from the features in the file and from the labels, without a teacher. Pictures in the file
become features of the student."""

EXAMPLES = """examples:
  derefl evaluate online --images corel5k/images --labels corel5k/tags.csv \\
      --themes-per-chunk 10 --plot corel5k.png
  derefl evaluate online --images flickr8k/images --captions flickr8k/captions.csv \\
      --split flickr8k/train.txt --chunk-size 1000
  derefl evaluate online --mat FLICKR-25K.mat --dataset mirflickr25k --queries 2000
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``online``."""
    data = add_data_options(parser, required=False)
    data.add_argument(
        "--mat", metavar="FILE", type=Path, help="a .mat file, or a folder with one per variable"
    )
    parser.add_argument("--dataset", choices=BENCHMARKS, help="the data set of --mat")
    parser.add_argument(
        "--teacher", metavar="NAME", default="lcdh-teacher", help="default: %(default)s"
    )
    parser.add_argument(
        "--bits", metavar="K", type=int, choices=BITS, default=64, help="default: %(default)s"
    )
    chunks = parser.add_mutually_exclusive_group()
    chunks.add_argument(
        "--chunk-size",
        metavar="N",
        type=int,
        default=2000,
        help="pairs per chunk, in random order (default: %(default)s)",
    )
    chunks.add_argument(
        "--themes-per-chunk",
        metavar="N",
        type=int,
        help="class by class instead: whole themes per chunk",
    )
    parser.add_argument(
        "--hide-labels", action="store_true", help="use the labels to score, not to learn"
    )
    parser.add_argument(
        "--anchors",
        metavar="N",
        type=whole_number(0),
        default=512,
        help="earlier pairs to keep and learn from again (default: %(default)s)",
    )
    parser.add_argument("--plot", metavar="PNG", type=Path, help="also plot the rounds")
    add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    """Stream the data through a learner, and print one line per round."""
    from tqdm import tqdm

    from derefl.hashing.learning.protocol import check_plot, plot_rounds, run_stream

    if args.plot:
        check_plot(args.plot, args.overwrite)
    stream = make_stream(args)
    name = "hash heads on features" if args.mat else args.model
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
    if not args.json:
        print(
            f"{name}, {args.bits} bits, on {args.captions or args.labels or args.mat}: "
            f"{len(stream.chunks)} chunks {stream.order}, {protocol['queries']} queries, seed "
            f"{args.seed}, labels {'known' if stream.labels_known else 'not known'} to the learner"
        )
        print(ROUND_HEADER)
    rounds = []
    steps = run_stream(make_learner(args, stream), stream)
    for result in tqdm(steps, total=len(stream.chunks), unit="chunk", leave=False):
        rounds.append(result)
        if not args.json:
            tqdm.write(round_line(result))
    if args.json:
        report = {"model": name, "protocol": protocol, "rounds": list(map(asdict, rounds))}
        print(json.dumps(report))
    if args.plot:
        plot_rounds(rounds, args.plot, f"{name}, {args.bits} bits")
        print(f"written: {args.plot}", file=sys.stderr)
    return 0


def make_stream(args: argparse.Namespace) -> "Stream":
    """The stream that the options describe."""
    from derefl.hashing.learning.captions import read_captions
    from derefl.hashing.learning.labelled import read_labelled
    from derefl.hashing.learning.streams import caption_stream, labelled_stream

    common = {"chunk_size": args.chunk_size, "queries": args.queries, "seed": args.seed}
    if bool(args.mat) != bool(args.dataset) or bool(args.mat) == bool(args.images):
        raise ConfigError(
            "expected --images with --captions or --labels, or --dataset with --mat, not both"
        )
    if args.captions:
        if args.themes_per_chunk is not None or args.hide_labels:
            raise ConfigError(
                "captions have no themes and no labels; use --chunk-size, or --labels"
            )
        return caption_stream(read_captions(args.images, args.captions, args.split), **common)
    if args.mat:
        from derefl.hashing.hasher import load_lcdh_student

        data: Any = read_mat(args.mat, args.dataset).with_features(
            lambda: load_lcdh_student(args.model, bits=args.bits, device=args.device)
        )
    else:
        data = read_labelled(args.images, args.labels, args.split)
    return labelled_stream(
        data, themes_per_chunk=args.themes_per_chunk, labels_known=not args.hide_labels, **common
    )


def make_learner(args: argparse.Namespace, stream: "Stream") -> "Learner":
    """The learner for the stream: the student with its teacher, or hash heads on features."""
    if args.mat:
        from derefl.hashing.learning.feature_learner import FeatureLearner

        widths = (len(part[0]) for part in (stream.queries.images, stream.queries.texts))
        return FeatureLearner(*widths, bits=args.bits, anchors=args.anchors, seed=args.seed)
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
    found = [of[way] for of in (r.hashed, r.learned) for way in of]
    scores = ["–" if score is None else f"{score:.4f}" for score in found]
    memory = f"{r.peak_memory_mb:9.0f}" if r.peak_memory_mb is not None else f"{'–':>9}"
    return (
        f"{r.number:5}{r.seen:8}{r.queries:9}{scores[0]:>20}{scores[1]:>11}{scores[2]:>21}"
        f"{scores[3]:>11}{r.seconds:9.1f}{memory}"
    )
