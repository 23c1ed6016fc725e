"""``derefl train``: train models."""

import argparse
import sys
from pathlib import Path
from typing import Any

from derefl.commands.options import add_device

EXAMPLES = """examples:
  derefl train reflection --config configs/derefl-base.toml --photos photos/ --real pairs/train \\
      --val real_val=pairs/val --out runs/base
  derefl train reflection … --set run.steps=20000 --device cuda

The same command takes up a run that was stopped: OUT holds its state. OUT/model.safetensors is the
averaged model, renewed at every validation; use it with --model, or go on from it with --start.
"""

HASHING_EXAMPLES = """examples:
  derefl train teacher --config configs/lcdh-teacher.toml --images flickr8k/images \\
      --captions flickr8k/captions.csv --split flickr8k/train.txt --out runs/teacher
  derefl train student --images flickr8k/images --captions flickr8k/captions.csv \\
      --split flickr8k/train.txt --teacher runs/teacher/model.safetensors --out runs/student
  derefl train heads --images flickr8k/images --captions flickr8k/captions.csv \\
      --split flickr8k/train.txt --start runs/student/model.safetensors --out runs/heads

The same command takes up a run that was stopped. Features are kept in OUT.
"""

CORPUS_OPTIONS = (
    ("images", "DIR", "pictures with captions"),
    ("captions", "CSV", "their captions, columns image,caption"),
    ("split", "FILE", "the pictures to learn from, one name a line"),
    ("tagged", "DIR", "pictures with tags"),
    ("tags", "CSV", "their tags, columns image,tags"),
    ("named", "DIR", "pictures whose names begin with a WordNet synset, n02084071_…"),
)


def add_parser(subparsers: Any) -> None:
    """Add ``train`` and its subcommands."""
    parser = subparsers.add_parser("train", help="train a model on your own data")
    wings = parser.add_subparsers(title="what to train", metavar="MODEL", required=True)
    reflection = wings.add_parser(
        "reflection",
        help="the network that removes reflections",
        description="Train the network that removes reflections (needs derefl[train]).",
        epilog=EXAMPLES,
    )
    reflection.add_argument("--config", metavar="TOML", type=Path, help="settings of the run")
    reflection.add_argument(
        "--photos",
        metavar="DIR",
        nargs="+",
        help="folders of photographs to make pairs of; one in 21 is held back for validation. "
        "They stay decoded in memory: shrink them to a few hundred pixels first",
    )
    reflection.add_argument(
        "--real",
        metavar="DIR",
        nargs="+",
        help="folders of real pairs, with blended/ and transmission_layer/",
    )
    reflection.add_argument(
        "--val",
        metavar="NAME=DIR",
        nargs="+",
        help="validation sets by name: folders of pairs, or of photos without a reflection",
    )
    reflection.add_argument("--out", metavar="DIR", type=Path, required=True, help="run folder")
    reflection.add_argument("--start", metavar="NAME", help="a model to start from")
    reflection.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="settings over those of the file, like run.steps=100",
    )
    add_device(reflection)
    reflection.set_defaults(run=run_reflection)
    add_hashing(wings)


def add_hashing(wings: Any) -> None:
    """Add ``teacher``, ``student`` and ``heads``."""
    for name, what, run in (
        ("teacher", "the hashing teacher, offline", run_teacher),
        ("student", "the hashing student, from a teacher", run_student),
        ("heads", "a student's hash heads once more, from its own features", run_heads),
    ):
        command = wings.add_parser(
            name,
            help=what,
            description=f"Train {what} (needs derefl[train]).",
            epilog=HASHING_EXAMPLES,
        )
        command.add_argument("--config", metavar="TOML", type=Path, help="settings of the run")
        for option, metavar, text in CORPUS_OPTIONS:
            command.add_argument(f"--{option}", metavar=metavar, help=text)
        command.add_argument("--out", metavar="DIR", type=Path, required=True, help="run folder")
        if name == "student":
            command.add_argument(
                "--teacher",
                metavar="NAME",
                nargs="+",
                default=["lcdh-teacher"],
                help="one or several; of several the mean similarities count "
                "(default: lcdh-teacher)",
            )
        if name != "teacher":
            start = "lcdh-student" if name == "heads" else None
            default = f" (default: {start})" if start else ""
            command.add_argument(
                "--start", metavar="NAME", default=start, help=f"a student to start from{default}"
            )
        command.add_argument(
            "--set", metavar="KEY=VALUE", nargs="+", default=[], help="settings over the file's"
        )
        add_device(command)
        command.set_defaults(run=run)


def run_reflection(args: argparse.Namespace) -> int:
    """Read the settings and train a reflection model."""
    import torch

    from derefl.reflection.learning.train import TrainConfig, train
    from derefl.reflection.remover import load_derefl
    from derefl.training.config import read_config
    from derefl.zoo import check_device

    check_device(args.device)
    folders = {"photos": args.photos, "real": args.real}
    given = {f"pairs.{key}": value for key, value in folders.items() if value}
    given |= {"run.validation": args.val} if args.val else {}
    config = read_config(TrainConfig, args.config, args.set, given)
    start = load_derefl(args.start) if args.start else None
    train(config, args.out, torch.device(args.device), start)
    print(f"trained: {args.out / 'model.safetensors'}", file=sys.stderr)
    return 0


def run_teacher(args: argparse.Namespace) -> int:
    """Read the settings and train a teacher."""
    import torch

    from derefl.hashing.learning.train_teacher import TeacherTrainConfig, train_teacher
    from derefl.training.config import read_config
    from derefl.zoo import check_device

    check_device(args.device)
    config = read_config(TeacherTrainConfig, args.config, args.set, corpus_settings(args))
    train_teacher(config, args.out, torch.device(args.device))
    print(f"trained: {args.out / 'model.safetensors'}", file=sys.stderr)
    return 0


def run_student(args: argparse.Namespace) -> int:
    """Read the settings and train a student."""
    import torch

    from derefl.hashing.hasher import load_lcdh_student
    from derefl.hashing.learning.train_student import StudentTrainConfig, train_student
    from derefl.hashing.teacher_pipeline import load_lcdh_teacher
    from derefl.training.config import read_config
    from derefl.zoo import check_device

    check_device(args.device)
    config = read_config(StudentTrainConfig, args.config, args.set, corpus_settings(args))
    teachers = [load_lcdh_teacher(name) for name in args.teacher]
    start = load_lcdh_student(args.start) if args.start else None
    train_student(config, args.out, torch.device(args.device), teachers, start)
    print(f"trained: {args.out / 'model.safetensors'}", file=sys.stderr)
    return 0


def run_heads(args: argparse.Namespace) -> int:
    """Read the settings and train the hash heads."""
    import torch

    from derefl.hashing.hasher import load_lcdh_student
    from derefl.hashing.learning.train_heads import HeadsTrainConfig, train_heads
    from derefl.training.config import read_config
    from derefl.zoo import check_device

    check_device(args.device)
    config = read_config(HeadsTrainConfig, args.config, args.set, corpus_settings(args))
    train_heads(config, args.out, torch.device(args.device), load_lcdh_student(args.start))
    print(f"trained: {args.out / 'model.safetensors'}", file=sys.stderr)
    return 0


def corpus_settings(args: argparse.Namespace) -> dict[str, str]:
    """The data options as settings."""
    given = {f"corpus.{name}": getattr(args, name) for name, _, _ in CORPUS_OPTIONS}
    return {key: value for key, value in given.items() if value}
