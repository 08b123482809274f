"""The tokenizers of a checkpoint as files of a folder, which other programs can read too.

``tokenizer.json`` is the source's, or that of both sides, and ``tokenizer_tgt.json`` the target's own. Of BPE, Unigram,
WordPiece and TokenizerFile they are files of the ``tokenizers`` library; of the others their state. What makes them
ours again stands in ``tokenizer_config.json``.
"""

import json
from pathlib import Path
from typing import Any

from s2s_lightning.errors import UserError

DESCRIPTION = "tokenizer_config.json"
FILES = {"src": "tokenizer.json", "tgt": "tokenizer_tgt.json"}


def write_tokenizers(state: dict[str, Any], folder: Path) -> None:
    """Write what ``Tokenizers.state`` gives."""
    sides = {side: state[side] and _write(state[side], folder / file) for side, file in FILES.items()}
    _save({**sides, "reverse_source": state.get("reverse_source", False)}, folder / DESCRIPTION)


def read_tokenizers(folder: Path) -> dict[str, Any]:
    """Return the state that ``Tokenizers.from_state`` takes.

    Raises:
        UserError: the folder has no tokenizers, or not all of their files.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        sides = {side: description[side] and _read(description[side], folder / file) for side, file in FILES.items()}
    except OSError as error:
        raise UserError(f"{folder} is no complete export of a model: {Path(error.filename).name} is missing") from error
    return {**sides, "reverse_source": description["reverse_source"]}


def _write(frozen: dict[str, str], path: Path) -> dict[str, Any]:
    """One tokenizer; returns what its file does not say: class, and options beside the library's own file."""
    content = _library_file(frozen["state"])
    path.write_text(frozen["state"] if content is None else content["backend"], encoding="utf-8", newline="")
    return {"class_path": frozen["class_path"], "options": content and content["options"]}


def _read(description: dict[str, Any], path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as file:  # symbols and pieces may be line breaks
        state = file.read()
    if (options := description["options"]) is not None:
        state = json.dumps({"options": options, "backend": state})
    return {"class_path": description["class_path"], "state": state}


def _library_file(state: str) -> dict[str, Any] | None:
    """Options and text of a tokenizer of the ``tokenizers`` library; None of another one."""
    try:
        content = json.loads(state)
    except json.JSONDecodeError:
        return None  # a state is any text
    return content if isinstance(content, dict) and content.keys() == {"options", "backend"} else None


def _save(content: Any, path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
