"""``export``: a checkpoint as a folder that other programs read."""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from s2s_lightning.cli.commands.arguments import Arguments
from s2s_lightning.errors import UserError
from s2s_lightning.files import shown, sync_folder

QUANTIZATIONS = ("float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16")

FILES = (
    "own_code.zip",
    *("model.safetensors", "model.json", "config.yaml"),
    *("model.bin", "config.json", "shared_vocabulary.json", "source_vocabulary.json", "target_vocabulary.json"),
    *("tokenizer_config.json", "tokenizer.json", "tokenizer_tgt.json", "digests.json"),
)
"""All that an export may consist of: what --force replaces."""

CARD = "README.md"
"""The model card, which is written once: --force leaves one that is there."""


def arguments() -> Arguments:
    parser = Arguments(
        "export",
        "A checkpoint as a folder of weights, configuration and tokenizers, without the state of training.",
        "safetensors: any model; it is read back by generate FOLDER, --init_from FOLDER and\n"
        "s2s_lightning.load(FOLDER). ctranslate2: Transformers, for a fast engine in C++; docs/search/exporting.md.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="best.ckpt, the folder of a run, an exported one")
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help="a new or an empty folder")
    parser.add_argument(
        "--format",
        choices=("safetensors", "ctranslate2"),
        default="safetensors",
        help="for what reads it (default: safetensors)",
    )
    parser.add_argument(
        "--quantization", choices=QUANTIZATIONS, help="what CTranslate2 keeps the weights as (default: float32)"
    )
    parser.add_argument("--license", metavar="NAME", help="licence of the weights, for the model card: apache-2.0, ...")
    parser.add_argument("--force", action="store_true", help="replace an earlier export; other files stay")
    return parser


def run(command: str, args: Sequence[str]) -> None:
    options = arguments().parse(args)
    if options.quantization and options.format == "safetensors":
        raise UserError(
            f"--quantization {options.quantization} is for --format ctranslate2: leave it out, or give that format"
        )
    folder = Path(options.output)
    refuse_used(folder, force=options.force)
    from s2s_lightning.files.run_checkpoints import checkpoint_in

    options.checkpoint = str(checkpoint_in(options.checkpoint))
    write, described = writer(options), (folder / CARD).exists()
    with replaced(folder) as new:
        write(new)
        if not described:  # a card that is there may be the user's own work
            (new / CARD).write_text(model_card(options), encoding="utf-8")
        for path in new.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    size = sum(path.stat().st_size for name in FILES if (path := folder / name).is_file())
    print(f"{folder}: {size / 1e6:,.1f} MB for {options.format}")


def model_card(options: argparse.Namespace) -> str:
    """Return the card of the checkpoint that is exported; an export of an exported folder keeps its card."""
    from s2s_lightning.checkpoints.checkpoint import read
    from s2s_lightning.inference.export.card import card

    path = Path(options.checkpoint)
    if options.format == "safetensors" and not options.license and (path / CARD).is_file():
        return (path / CARD).read_text(encoding="utf-8")
    return card(read(options.checkpoint), path, options.format, options.license)


def writer(options: argparse.Namespace) -> Callable[[Path], None]:
    """Return the function that writes the format of the checkpoint into an existing folder."""
    from s2s_lightning.checkpoints.checkpoint import read
    from s2s_lightning.inference.load import load

    if options.format == "ctranslate2":
        from s2s_lightning.inference.export import ctranslate2

        ctranslate2.library()  # before minutes are spent
        trained = load(options.checkpoint)
        return lambda folder: ctranslate2.convert(trained, folder, options.quantization)
    from s2s_lightning.checkpoints.folder_digest import check_folder
    from s2s_lightning.inference.export import safetensors
    from s2s_lightning.trust.signature import is_own

    checkpoint, path = read(options.checkpoint), Path(options.checkpoint)
    own = check_folder(path) if path.is_dir() else is_own(path)
    return lambda folder: safetensors.write(checkpoint, folder, path, own)


def refuse_used(folder: Path, *, force: bool) -> None:
    """Raises UserError for a file, or a folder that has something in it."""
    try:
        exists = folder.exists()
    except OSError as error:  # a name that is too long
        raise UserError(f"--output {shown(folder)} cannot be written: {error.strerror}") from error
    if exists and not folder.is_dir():
        raise UserError(f"--output {folder} is a file, and must be a folder: give another name")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UserError(f"--output {folder} is not empty: give another folder, or replace an earlier export by --force")


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A new folder beside it, whose files replace those of an earlier export once all are written.

    Raises:
        UserError: there is no right or no room to write.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as new:
            yield Path(new)
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
            for path in Path(new).iterdir():
                shutil.move(path, folder / path.name)
            sync_folder(folder)
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(folder)):
            raise  # of what is read
        raise UserError(f"--output {shown(folder)} cannot be written: {error.strerror}") from error
