"""``completion``: a script by which a shell completes commands, options, classes and names of files.

The script is static, so that a shell answers without starting Python. It is printed anew after an update.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import shtab

from s2s_lightning.cli.command_table import COMMANDS
from s2s_lightning.cli.commands.arguments import Arguments
from s2s_lightning.config.shipped import names

EPILOG = """examples:
  s2s_lightning completion bash > ~/.local/share/bash-completion/completions/s2s_lightning
  s2s_lightning completion zsh > ~/.zfunc/_s2s_lightning     # with fpath+=~/.zfunc before compinit in ~/.zshrc"""

FILES = ("ckpt_path", "init_from", "resume", "run")
"""Options that take a path."""


def arguments() -> Arguments:
    parser = Arguments("completion", "Print a script by which a shell completes what is typed.", EPILOG)
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell that reads the script")
    return parser


def run(command: str, args: Sequence[str]) -> None:
    options = arguments().parse(args)
    print(shtab.complete(every_command(), options.shell))


def every_command() -> argparse.ArgumentParser:
    """Return a parser of all commands with their options; it is made to be looked at, not to parse."""
    top = argparse.ArgumentParser("s2s_lightning")
    commands = top.add_subparsers()
    for name, (module, summary) in COMMANDS.items():
        parser, own = commands.add_parser(name, help=summary), getattr(import_module(module), "arguments", None)
        if own is None:
            add_options(parser, name)
        else:
            add_actions(parser, own())
    return top


def add_actions(parser: argparse.ArgumentParser, known: argparse.ArgumentParser) -> None:
    """Add the options of a command that has an argparse parser of its own."""
    for action in known._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        added = parser.add_argument(*(action.option_strings or [action.dest]), help=action.help, nargs="?")
        added.choices = action.choices
        if not action.choices and action.metavar in ("FILE", "CHECKPOINT", "DIR", "HYP", "REF"):
            added.complete = shtab.FILE  # type: ignore[attr-defined]


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the options of a command that takes those of ``fit``, those of each class included, and names of classes."""
    from s2s_lightning.cli.fit import option_parser
    from s2s_lightning.config.parser import bases, concrete_subclasses, nested_options, parser_options

    known = option_parser(command)
    types = parser_options(known)
    for key in dict.fromkeys(("config", *nested_options(known))):
        added: Any = parser.add_argument(f"--{key}", nargs="?")
        classes = sorted({cls.__name__ for base in bases(types.get(key)) for cls in concrete_subclasses(base)})
        if key == "config":
            added.choices = names("configs")
        elif classes:
            added.choices = classes
        elif key in FILES:
            added.complete = shtab.FILE
