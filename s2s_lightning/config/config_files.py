"""Read the arguments before they are parsed: the files that they name decide how they are parsed."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from s2s_lightning.config.shipped import names, shipped
from s2s_lightning.config.yaml_files import parse_yaml, read_yaml
from s2s_lightning.errors import UserError, closest, did_you_mean

EVALUATIONS = ("validate", "test", "predict")

NAMED = ("ckpt_path", "init_from", "resume", "run", "model", "wait")


def given(args: Sequence[str]) -> dict[str, Any]:
    """The top level of the configuration files, later ones over earlier ones, and ``NAMED`` options over them.

    Raises:
        UserError: a file is missing, or is no YAML mapping.
    """
    known = _known(args)
    config: dict[str, Any] = {}
    for source in filter(None, known["config"]):
        config.update(mapping(source))
    found: dict[str, Any] = at_home(config | {name: known[name] for name in NAMED if known[name] is not None})
    return found


def arranged(command: str, args: Sequence[str]) -> list[str]:
    """Return the arguments with the files first: what is typed holds, wherever it stands.

    A file that does not exist is looked for among the shipped ones: ``--config transformer`` works in any folder.

    The commands that evaluate take their checkpoint as the first word, too: ``test RUN`` is ``test --ckpt_path RUN``.
    """
    words = list(args)
    if command in EVALUATIONS and words and not words[0].startswith("-") and not words[0].endswith((".yaml", ".yml")):
        words.insert(0, "--ckpt_path")
    files: list[str] = []
    options: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("--config", "-c") and words:
            files += [word, shipped(words.pop(0), "configs")]
        elif word.startswith("--config="):
            files.append(f"--config={shipped(word.removeprefix('--config='), 'configs')}")
        else:
            options.append(word)
    return files + options


def at_home(value: Any) -> Any:
    """Return the value with each path that begins with ``~/``, wherever in it, below the user's home.

    A shell does so for words that begin so, not for ``--option=~/path``, and nobody does for YAML.
    """
    if isinstance(value, str):
        return os.path.expanduser(value) if value == "~" or value.startswith("~/") else value
    if isinstance(value, list):
        return [at_home(each) for each in value]
    if isinstance(value, dict | Namespace):
        for key, each in list(vars(value).items() if isinstance(value, Namespace) else value.items()):
            value[key] = at_home(each)
    return value


def config_files(args: Sequence[str]) -> list[Path]:
    """The configuration files in the order in which they are given."""
    return [Path(source) for source in filter(None, _known(args)["config"]) if Path(source).is_file()]


def _known(args: Sequence[str]) -> dict[str, Any]:
    """The configuration files and ``NAMED`` options among the arguments."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("-c", "--config", action="append", nargs="?", default=[])
    for name in NAMED:
        options.add_argument(f"--{name}", nargs="?")
    return vars(options.parse_known_args(args)[0])


def mapping(source: str) -> dict[str, Any]:
    """The YAML mapping in a file, or in the string itself."""
    path = Path(source)
    is_file = stands(source)
    content = read_yaml(source) if is_file else parse_yaml(source, "--config")
    if isinstance(content, dict):
        return content
    if is_file:
        said = repr(str(content))
        raise UserError(f"{source} must map keys to values, but says {said if len(said) < 100 else said[:100] + '...'}")
    siblings = {sibling.stem: str(sibling) for sibling in path.parent.glob("*.yaml")}
    known = siblings if path.suffix else {name: name for name in names("configs")}
    hint = did_you_mean(known.get(closest(path.stem, known) or ""))
    raise UserError(f"there is no configuration file {source}{hint}")


def stands(source: str) -> bool:
    """True if a file, a folder or a pipe has this name, and it is no YAML in the place of one."""
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # too long for a name
        return False
