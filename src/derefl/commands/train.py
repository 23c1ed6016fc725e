"""``derefl train``: train models."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from derefl.commands.options import MODEL_HELP, add_device

HELP = "train a model on your own data"

REFLECTION_EXAMPLES = """examples:
  derefl train reflection --config configs/derefl-base.toml --photos photos/ --real pairs/train \\
      --val real_val=pairs/val --out runs/base
  derefl train reflection … --set run.steps=20000 --device cuda

Repeat a command to resume its run. The run folder contains model.safetensors, the averaged model
with the best validation so far: use it with --model, or start another run from it with --start.
"""

HASHING_EXAMPLES = """examples:
  derefl train teacher --config configs/lcdh-teacher.toml --images flickr8k/images \\
      --captions flickr8k/captions.csv --split flickr8k/train.txt --out runs/teacher
  derefl train student --images flickr8k/images --captions flickr8k/captions.csv \\
      --split flickr8k/train.txt --teacher runs/teacher/model.safetensors --out runs/student
  derefl train heads --images flickr8k/images --captions flickr8k/captions.csv \\
      --split flickr8k/train.txt --texts coco.csv.gz --start runs/student/model.safetensors \\
      --teacher runs/teacher/model.safetensors --out runs/heads

Repeat a command to resume its run. The run folder also stores the features of the data.
"""

CORPUS_OPTIONS = (
    ("images", "DIR", "pictures with captions"),
    ("captions", "CSV", "captions of --images, columns image,caption"),
    ("split", "FILE", "names of the pictures of --images to train on, one per line"),
    ("tagged", "DIR", "pictures with tags"),
    ("tags", "CSV", "tags of --tagged, columns image,tags"),
    ("named", "DIR", "pictures whose names start with a WordNet synset, n02084071_…"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``train``."""
    models = parser.add_subparsers(title="what to train", metavar="MODEL", required=True)
    reflection = add_training(
        models, "reflection", "the network that removes reflections", run_reflection
    )
    # A destination with a dot is the name of a setting.
    reflection.add_argument(
        "--photos",
        dest="pairs.photos",
        metavar="DIR",
        nargs="+",
        help="folders of photos, to make synthetic pairs. One photo in 21 is kept for validation. "
        "All photos stay in memory: resize them to a few hundred pixels first",
    )
    reflection.add_argument(
        "--real",
        dest="pairs.real",
        metavar="DIR",
        nargs="+",
        help="folders of real pairs, each with blended/ and transmission_layer/",
    )
    reflection.add_argument(
        "--val",
        dest="run.validation",
        metavar="NAME=DIR",
        nargs="+",
        help="validation sets: folders of pairs, or of photos without a reflection",
    )
    teacher = add_training(models, "teacher", "the hashing teacher, offline", run_teacher)
    student = add_training(models, "student", "the hashing student, from a teacher", run_student)
    heads = add_training(models, "heads", "only a student's hash heads", run_heads)
    for command in (teacher, student, heads):
        for name, metavar, text in CORPUS_OPTIONS:
            command.add_argument(f"--{name}", dest=f"corpus.{name}", metavar=metavar, help=text)
    for command, default in ((student, ["lcdh-teacher"]), (heads, [])):
        command.add_argument(
            "--texts",
            dest="corpus.texts",
            metavar="CSV",
            nargs="+",
            help="captions without a picture, column caption, plain or .gz",
        )
        command.add_argument(
            "--teacher",
            metavar="NAME",
            nargs="+",
            default=default,
            help="one or more teachers; the student learns the mean of their similarities "
            f"(default: {default[0] if default else 'the student itself'})",
        )
    for command in (reflection, student):
        command.add_argument("--start", metavar="NAME", help=f"initial weights: {MODEL_HELP}")
    heads.add_argument(
        "--start", metavar="NAME", default="lcdh-student", help="the student (default: %(default)s)"
    )


def add_training(
    models: Any, name: str, what: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add a command with the options that all of them have."""
    command: argparse.ArgumentParser = models.add_parser(
        name,
        help=what,
        description=f"Train {what} (needs derefl[train]).",
        epilog=REFLECTION_EXAMPLES if name == "reflection" else HASHING_EXAMPLES,
    )
    command.add_argument("--config", metavar="TOML", type=Path, help="settings of the run")
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="run folder")
    command.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="settings that override the file, for example run.steps=100",
    )
    add_device(command)
    command.set_defaults(run=run)
    return command


def run_reflection(args: argparse.Namespace) -> int:
    """Train a reflection model."""
    from derefl.reflection.learning.train import TrainConfig, train
    from derefl.reflection.remover import load_derefl

    def start(config: TrainConfig, out: Path, device: Any) -> None:
        train(config, out, device, load_derefl(args.start).network if args.start else None)

    return start_training(args, TrainConfig, start)


def run_teacher(args: argparse.Namespace) -> int:
    """Train a teacher."""
    from derefl.hashing.learning.train_teacher import TeacherTrainConfig, train_teacher

    return start_training(args, TeacherTrainConfig, train_teacher)


def run_student(args: argparse.Namespace) -> int:
    """Train a student."""
    from derefl.hashing.hasher import load_lcdh_student
    from derefl.hashing.learning.train_student import StudentTrainConfig, train_student
    from derefl.hashing.teacher_pipeline import load_teacher_network

    def start(config: StudentTrainConfig, out: Path, device: Any) -> None:
        teachers = [load_teacher_network(name) for name in args.teacher]
        first = load_lcdh_student(args.start) if args.start else None
        train_student(config, out, device, teachers, first)

    return start_training(args, StudentTrainConfig, start)


def run_heads(args: argparse.Namespace) -> int:
    """Train the hash heads."""
    from derefl.hashing.hasher import load_lcdh_student
    from derefl.hashing.learning.train_heads import HeadsTrainConfig, train_heads
    from derefl.hashing.teacher_pipeline import load_teacher_network

    def start(config: HeadsTrainConfig, out: Path, device: Any) -> None:
        teachers = [load_teacher_network(name) for name in args.teacher]
        train_heads(config, out, device, load_lcdh_student(args.start), teachers)

    return start_training(args, HeadsTrainConfig, start)


def start_training(args: argparse.Namespace, kind: type[Any], train: Callable[..., object]) -> int:
    """Read the settings and call ``train(config, out, device)``."""
    import torch

    from derefl.training.config import read_config
    from derefl.zoo import check_device

    check_device(args.device)
    given = {name: value for name, value in vars(args).items() if "." in name and value}
    train(read_config(kind, args.config, args.set, given), args.out, torch.device(args.device))
    print(f"trained: {args.out / 'model.safetensors'}", file=sys.stderr)
    return 0
