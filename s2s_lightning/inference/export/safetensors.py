"""A checkpoint as a folder of files that any program can read and none can run: safetensors, JSON and YAML."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from s2s_lightning import __version__
from s2s_lightning.checkpoints.checkpoint import data_state, stored_config, tied
from s2s_lightning.checkpoints.exported_folder import CONFIG, MODEL, OWN_CODE, TIED, WEIGHTS
from s2s_lightning.checkpoints.folder_digest import seal
from s2s_lightning.checkpoints.keys import VOCABULARY_SIZES
from s2s_lightning.data.tokenizers.files import write_tokenizers
from s2s_lightning.errors import UserError
from s2s_lightning.tracking.own_sources import pack


def write(checkpoint: dict[str, Any], folder: Path, path: Path, own: bool = False) -> None:
    """Write all but the state of its training into an existing folder; ``read_folder`` reads it back.

    Args:
        checkpoint: the content.
        folder: gets the files.
        path: of the checkpoint, beside whose run the copies of the user's own code stand, or of an exported folder.
        own: the user wrote the checkpoint.

    Raises:
        UserError: it has no tokenizers.
    """
    settings, data = checkpoint["hyper_parameters"], data_state(checkpoint)
    if not data:
        raise UserError("the checkpoint holds no tokenizers: give one that was trained with Seq2SeqData, as fit does")
    model = {
        "s2s_lightning": __version__,
        "class_path": checkpoint["class_path"],
        "vocabulary": {name: settings[name] for name in VOCABULARY_SIZES if name in settings},
        "copy": data.get("copy", False),
        "lengths": data.get("lengths"),
    }
    (folder / MODEL).write_text(json.dumps(model, indent=2) + "\n", encoding="utf-8")
    config = yaml.safe_dump(stored_config(checkpoint), sort_keys=False, allow_unicode=True)
    (folder / CONFIG).write_text(config, encoding="utf-8")
    write_tokenizers(data["tokenizers"], folder)
    write_weights(checkpoint["state_dict"], folder / WEIGHTS)
    if (path / OWN_CODE).is_file():
        shutil.copyfile(path / OWN_CODE, folder / OWN_CODE)
    elif path.is_file():
        pack(path.resolve().parent.parent, folder / OWN_CODE)
    seal(folder, own)


def write_weights(state: dict[str, Tensor], path: Path) -> None:
    """Each tensor once, and in the metadata which others it is."""
    from safetensors.torch import save

    owners = tied(state)
    kept = {name: state[name].contiguous().clone() for name, owner in owners.items() if name == owner}
    others = {name: owner for name, owner in owners.items() if name != owner}
    path.write_bytes(save(kept, {"format": "pt", TIED: json.dumps(others)}))  # save_file's are their owner's alone
