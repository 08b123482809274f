"""``check``: the laws of the network on anybody's class, a line a law."""

import inspect
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from s2s_lightning import PROGRAM
from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.cli.fit import CLI
from s2s_lightning.config.parser import concrete_subclasses
from s2s_lightning.errors import UserError, closest, did_you_mean, located
from s2s_lightning.model import Decoder, Encoder
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Result, check_network
from s2s_lightning.testing.laws import NOT_TRIED
from s2s_lightning.training.module import Seq2SeqModule
from s2s_lightning.trust.names import allow, full_name
from s2s_lightning.trust.own_classes import no_class, no_module

HELP = f"""usage: {PROGRAM} check CONFIG-or-CLASS [--json] [--model.OPTION VALUE]...

Check the laws that training and search rely on: padding, causality, decoding step by step, gradients and others.
A network is built with a toy vocabulary, in float64. Each law is a line: ok, FAILS or not applicable. A failure shows
the measured numbers and where to look.

CONFIG-or-CLASS:
  model.yaml            a configuration of fit, or the folder of a run
  my_model.MyModel      a class of a module in the working folder or on the Python path
  my_model.py:MyModel   a class of a file; its name can be left out where the file has one
  MyModel is a Seq2SeqModule, or an Encoder or a Decoder, which gets a partner of this package.

options:
  --json                the results as JSON
  --model.OPTION VALUE  an option of the network, as for fit; of a part: --model.encoder.OPTION, --model.decoder.OPTION

exit code: 0 all must-laws hold, 1 one fails, 2 no network could be built.
examples: {PROGRAM} check configs/lstm.yaml
          {PROGRAM} check fnet.py:FNet --model.d_embedding 32 --model.encoder.num_layers 2"""

KINDS = (Seq2SeqModule, Encoder, Decoder)

PARTNERS = {
    "encoder": "s2s_lightning.families.rnn.RecurrentEncoder",
    "decoder": "s2s_lightning.families.bahdanau.BahdanauDecoder",
}
"""Part of a Hybrid -> the class that stands there beside a user's own other part."""

LARGE = 30_000_000
"""Parameters from which the check takes more than some seconds."""


class Check(CLI):
    """Takes all that ``fit`` takes, and builds nothing but the network."""

    def instantiate_classes(self) -> None:
        spec = self._plain()["model"]
        sizes = {"src_vocab_size": SRC_VOCAB, "tgt_vocab_size": TGT_VOCAB}
        allow(sorted(self.typed))
        built = instantiate({**spec, "init_args": {**spec.get("init_args", {}), **sizes}}, Seq2SeqModule)
        self.model: Seq2SeqModule = built


def run(command: str, args: Sequence[str]) -> None:
    """Check one network, and end with exit code 1 if a must-law fails."""
    if not args or "-h" in args or "--help" in args:
        print(HELP)
        return
    as_json = "--json" in args
    words = [word for word in args if word != "--json"]
    model = Check(command, arranged(words)).model
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{described(model)}, {parameters:,} parameters", file=sys.stderr)
    if parameters > LARGE:
        print("this takes long: smaller sizes (--model.OPTION VALUE) find the same faults", file=sys.stderr)
    results = check_network(model)
    print(json.dumps([plain(result) for result in results], indent=1) if as_json else table(results))
    broken = [result.law for result in results if result.status == "FAILS"]
    print(verdict(results), file=sys.stderr)
    if any(law.must for law in broken):
        sys.exit(1)


def arranged(words: list[str]) -> list[str]:
    """Return the arguments of ``fit`` that build what the first word names."""
    target, *rest = words
    if target.startswith("-"):
        if not {word.partition("=")[0] for word in words} & {"--config", "-c", "--model"}:
            raise UserError(f"check needs CONFIG or CLASS as its first word, before {target}")
        return words
    if target.endswith((".yaml", ".yml")):
        return ["--config", target, *rest]
    if (Path(target) / "config.yaml").is_file():  # the folder of a run
        return ["--config", str(Path(target) / "config.yaml"), *rest]
    if target.endswith(".ckpt"):
        raise UserError(f"{target} is a checkpoint: give the folder of its run, which has the configuration")
    cls = named(target)
    if issubclass(cls, Seq2SeqModule):
        return ["--model", full_name(cls), *rest]
    own, other = ("encoder", "decoder") if issubclass(cls, Encoder) else ("decoder", "encoder")
    words = ["--model", "Hybrid", "--model.d_embedding", "16", f"--model.{own}", full_name(cls)]
    if not any(word.partition("=")[0] == f"--model.{other}" for word in rest):
        words += [f"--model.{other}", PARTNERS[other], f"--model.{other}.d_model", "16"]
    return [*words, *rest]


def named(target: str) -> type[Any]:
    """Return the class that ``MODULE.CLASS``, ``FILE.py:CLASS``, ``FILE.py`` or a short name of ours names.

    Raises:
        UserError: there is none, its module cannot be imported, or it is no part of a network.
    """
    path, _, name = target.partition(":")
    if path.endswith(".py"):
        module = from_file(Path(path).expanduser())
        name = name or only_class(module, path)
    elif "." in target.strip("."):
        path, _, name = target.rpartition(".")
        module = imported(path, target)
    else:
        ours = {cls.__name__: cls for kind in KINDS for cls in concrete_subclasses(kind)}
        if target in ours:
            return ours[target]
        hint = did_you_mean(closest(target, ours)) or ": give a YAML file, MODULE.CLASS or FILE.py:CLASS"
        raise UserError(f"{target!r} names no class{hint}")
    cls = getattr(module, name, None)
    if cls is None:
        raise UserError(no_class(f"{module.__name__}.{name}"))
    if not (isinstance(cls, type) and issubclass(cls, KINDS)):
        raise UserError(f"{target} is no Seq2SeqModule, Encoder or Decoder: make it a subclass of one")
    return cls


def from_file(path: Path) -> ModuleType:
    """Import a file by its path; the files beside it can be imported, too."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    name, folder = path.stem, str(path.resolve().parent)
    there = sys.modules.get(name)
    if there is not None and getattr(there, "__file__", None) == str(path.resolve()):
        return there
    if there is not None or not name.isidentifier():
        raise UserError(f"{path} cannot be imported as {name}, which is another module or no name: rename the file")
    spec = spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    if folder not in sys.path:
        sys.path.append(folder)
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(f"{path} cannot be imported: {located(error)}") from error
    return module


def imported(module: str, target: str) -> ModuleType:
    """Import a module that the user typed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module + ".").startswith(error.name + "."):
            raise UserError(f"{target}: {no_module(error.name, target.rpartition('.')[2])}") from error
        raise UserError(f"{module} cannot be imported: {located(error)}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{module} cannot be imported: {located(error)}") from error


def classes_of(module: ModuleType) -> list[str]:
    """Return the names of the parts of networks that a module itself defines."""
    found = vars(module).items()
    return [
        name
        for name, cls in found
        if isinstance(cls, type) and issubclass(cls, KINDS) and cls.__module__ == module.__name__
        if not inspect.isabstract(cls)
    ]


def only_class(module: ModuleType, path: str) -> str:
    """Return the name of the one class that a file has to check."""
    found = classes_of(module)
    if len(found) != 1:
        has = f"has {', '.join(found)}: name one, as {path}:{found[0]}" if found else "has no Encoder, Decoder or model"
        raise UserError(f"{path} {has}")
    return found[0]


def described(module: Seq2SeqModule) -> str:
    """Name the classes of a network."""
    parts = [type(part).__name__ for part in (module.model.encoder, module.model.decoder)]
    return f"{type(module).__name__}: {parts[0]} and {parts[1]}, {SRC_VOCAB} and {TGT_VOCAB} symbols, float64"


def table(results: Sequence[Result]) -> str:
    """Return a line a law, and below a failure its numbers and where to look."""
    lines = []
    for result in results:
        law = result.law
        rule = "" if law.must else " (a rule of the house)"
        lines.append(f"{result.status:16}{law.name:22}{law.meaning}{rule}")
        if result.said and result.said != NOT_TRIED:
            lines.append(f"{'':16}{result.said}")
        if result.status == "FAILS":
            lines.append(f"{'':16}look at: {law.where_to_look}")
    return "\n".join(lines)


def plain(result: Result) -> dict[str, Any]:
    """Return a result as JSON has it."""
    law = result.law
    return {"law": law.name, "must": law.must, "status": result.status, "said": result.said, "meaning": law.meaning}


def verdict(results: Sequence[Result]) -> str:
    """Return the outcome in a line."""
    broken = [result.law for result in results if result.status == "FAILS"]
    must, house = ([law.name for law in broken if law.must is kind] for kind in (True, False))
    said = f"broken: {', '.join(must)}" if must else "all laws that must hold do"
    return said + (f"; rules of the house that do not hold: {', '.join(house)}" if house else "")
