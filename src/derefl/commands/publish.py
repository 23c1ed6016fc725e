"""``derefl publish``: upload a checkpoint and its model card to the Hugging Face Hub."""

import argparse
from pathlib import Path
from typing import Any

HELP = "upload a model with its card to the Hugging Face Hub"

DESCRIPTION = """Upload a checkpoint with its config and model card to the Hugging Face Hub, load it
back, and write the commit into weights_manifest.json.

MODEL is a name from 'derefl models', or your own .safetensors file or folder. The card of your own
model has no scores, training data and licence: write the folder with --dry-run, complete its
README.md, then publish the folder.

The command uses the token of 'hf auth login' or HF_TOKEN, which needs write permission."""

EXAMPLES = """examples:
  derefl publish derefl-base --repo ORG/derefl-base --dry-run outputs/derefl-base
  derefl publish derefl-base --repo ORG/derefl-base --private
  derefl publish runs/mine/model.safetensors --repo ME/mine --dry-run outputs/mine
  derefl publish outputs/mine --repo ME/mine
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``publish``."""
    parser.add_argument("model", metavar="MODEL", help="a name, a .safetensors file or a folder")
    parser.add_argument("--repo", metavar="ORG/NAME", required=True, help="repository on the Hub")
    parser.add_argument(
        "--private", action="store_true", help="make a new repo private; refuse a public repo"
    )
    parser.add_argument(
        "--dry-run",
        metavar="DIR",
        type=Path,
        help="only write the folder to DIR (new or empty) and print the plan",
    )
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        type=Path,
        help="manifest for the commit; it must list the model (default: weights_manifest.json of "
        "an editable install, else none)",
    )
    parser.add_argument(
        "--token", help="token for the Hub; other users of this machine may see it here"
    )


def run(args: argparse.Namespace) -> int:
    """Prepare, then only write the folder or publish; print a report."""
    from derefl import __version__, load_derefl, load_lcdh_student
    from derefl.hashing.teacher_pipeline import load_teacher_network
    from derefl.zoo.manifest import editable_manifest
    from derefl.zoo.publish import FILES, prepare_release, publish, write_folder

    loaders: Any = {
        "derefl": load_derefl,
        "lcdh-student": load_lcdh_student,
        "lcdh-teacher": load_teacher_network,
    }
    release = prepare_release(args.model, args.repo)
    load = loaders[release.header["kind"]]
    manifest = args.manifest
    if manifest is None and release.found.entry is not None:
        manifest = editable_manifest()
    if args.dry_run:
        write_folder(release, args.dry_run)
        load(args.dry_run)
        private = " (private)" if args.private else ""
        last = f"write the commit to {manifest}" if manifest else "change no manifest"
        print(f"written: {args.dry_run} ({', '.join(FILES)}); it loads with {load.__name__}")
        print(f"would upload it to {args.repo}{private}, load it back, and {last}")
        return 0
    published = publish(
        release,
        args.repo,
        load,
        message=f"{release.name}, published by derefl {__version__}",
        private=args.private,
        token=args.token,
        manifest=manifest,
    )
    print(f"published: {published.repo} at commit {published.revision}; loaded back, same sha256")
    if manifest:
        print(f"written: {manifest}")
    print(f'load it with {load.__name__}("{published.repo}", revision="{published.revision}")')
    return 0
