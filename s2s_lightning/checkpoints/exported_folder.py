"""Reads the folder that ``exporting.safetensors`` makes of a checkpoint: weights, configuration, tokenizers."""

import json
from pathlib import Path
from typing import Any

from s2s_lightning.checkpoints.folder_digest import check_folder
from s2s_lightning.checkpoints.keys import CHECKPOINT_KEY
from s2s_lightning.config.yaml_files import parse_yaml
from s2s_lightning.data.tokenizers.files import read_tokenizers
from s2s_lightning.errors import UserError
from s2s_lightning.trust.names import allow

WEIGHTS = "model.safetensors"
MODEL = "model.json"
CONFIG = "config.yaml"
OWN_CODE = "own_code.zip"
"""Copies of the user's own source files; they are written, and never read by a program of ours."""

TIED = "tied"
"""Key of the weights' metadata: JSON, name of a tensor that is not stored -> name of the one that it is."""


def read_folder(folder: Path) -> dict[str, Any]:
    """Return the content of the exported checkpoint on the CPU, without the state of its training.

    Raises:
        UserError: it is no such folder, or a torn one.
    """
    from safetensors import SafetensorError

    own = check_folder(folder)
    try:
        model = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        config = parse_yaml((folder / CONFIG).read_text(encoding="utf-8"), str(folder / CONFIG))
        weights = read_weights(folder / WEIGHTS)
    except FileNotFoundError as error:
        missing = Path(error.filename or WEIGHTS).name
        raise UserError(
            f"{folder} is a folder without {missing}: give a checkpoint, or an export --format safetensors of one"
        ) from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise UserError(f"{folder} holds a torn {WEIGHTS}, {MODEL} or {CONFIG}: export the checkpoint again") from error
    try:
        content = {
            "class_path": model["class_path"],
            "hyper_parameters": dict(model["vocabulary"]),
            CHECKPOINT_KEY: dict(config),
            "Seq2SeqData": {
                "tokenizers": read_tokenizers(folder),
                "copy": model["copy"],
                "lengths": model.get("lengths"),
            },
        }
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: {MODEL}, {CONFIG} or the tokenizers lack {error}: export the checkpoint again"
        ) from error
    if own:
        allow(content)
    return {"state_dict": weights, **content}


def read_weights(path: Path) -> dict[str, Any]:
    """Return all tensors by their names, tied ones as one tensor."""
    from safetensors import safe_open

    if not path.is_file():
        raise FileNotFoundError(2, "missing", str(path))
    with safe_open(path, framework="pt") as file:
        tied = json.loads((file.metadata() or {}).get(TIED, "{}"))
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    return {**weights, **{name: weights[kept] for name, kept in tied.items()}}
