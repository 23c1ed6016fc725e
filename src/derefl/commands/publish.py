"""``derefl publish``: upload a checkpoint and its model card to the Hugging Face Hub."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

DESCRIPTION = """Upload a checkpoint with its config and model card to the Hugging Face Hub, load it
back from there, and write the commit into weights_manifest.json.

MODEL is a name that 'derefl models' lists, or a .safetensors file or folder of your own, whose
scores, training and licence are not known: write the folder with --dry-run, complete its README.md,
and publish the folder.
A token with write permission is taken from 'hf auth login' or from HF_TOKEN."""

EXAMPLES = """examples:
  derefl publish derefl-small --repo ORG/derefl-small --dry-run outputs/derefl-small
  derefl publish derefl-small --repo ORG/derefl-small --private
  derefl publish runs/mine/model.safetensors --repo ME/mine --dry-run outputs/mine
  derefl publish outputs/mine --repo ME/mine
"""


def add_parser(subparsers: Any) -> None:
    """Add ``publish`` and its options."""
    parser = subparsers.add_parser(
        "publish",
        help="upload a model with its card to the Hugging Face Hub",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument("model", metavar="MODEL", help="a name, a .safetensors file or a folder")
    parser.add_argument("--repo", metavar="ORG/NAME", required=True, help="where on the Hub")
    parser.add_argument(
        "--private", action="store_true", help="make a new repo private; refuse a public one"
    )
    parser.add_argument(
        "--dry-run",
        metavar="DIR",
        type=Path,
        help="write the folder into DIR, which is new or empty, say what would be done, and stop",
    )
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        type=Path,
        help="the manifest that gets the commit, if it has this model (default: "
        "weights_manifest.json of the clone that derefl is installed from, otherwise none)",
    )
    parser.add_argument(
        "--token", help="instead of the stored one; others on this machine may see it"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare, then only write the folder or publish; print a report."""
    from derefl import __version__, load_derefl, load_lcdh_student, load_lcdh_teacher
    from derefl.zoo.manifest import editable_manifest
    from derefl.zoo.publish import FILES, prepare, publish, write_folder

    loaders: dict[str, Callable[..., Any]] = {
        "derefl": load_derefl,
        "lcdh-student": load_lcdh_student,
        "lcdh-teacher": load_lcdh_teacher,
    }
    release = prepare(args.model, args.repo)
    load = loaders[release.header["kind"]]
    manifest = args.manifest
    if manifest is None and release.found.entry is not None:
        manifest = editable_manifest()
    if args.dry_run:
        write_folder(release, args.dry_run)
        load(args.dry_run)
        print(f"written: {args.dry_run} ({', '.join(FILES)}); it loads with {load.__name__}")
        print(
            f"would upload it to {args.repo}{' (private)' if args.private else ''}, load it back, "
            + (f"and write the commit to {manifest}" if manifest else "and change no manifest")
        )
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
