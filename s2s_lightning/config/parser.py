"""jsonargparse's parser, whose errors are one line that names the key and suggests the right one.

jsonargparse says what is wrong in nested, indented lines. ``explain`` reads them from the outside in: first the keys
and classes on the way to the mistake, then the mistake.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pydoc import locate
from traceback import extract_tb
from typing import Any, NoReturn, get_args, get_origin

import jsonargparse
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException

from s2s_lightning.config.nulls import refuse_nulls
from s2s_lightning.config.yaml_files import check_yaml
from s2s_lightning.errors import UserError, closest, closest_key, did_you_mean, from_own_code, located
from s2s_lightning.trust.guard import broken_import
from s2s_lightning.trust.names import DOTTED, unknown
from s2s_lightning.trust.own_classes import PACKAGES, no_class, wrong_base

USUAL_NAMES = {
    **dict.fromkeys(("learning_rate", "lr"), "optimizer.lr"),
    **dict.fromkeys(("epochs", "num_epochs", "num_train_epochs", "max_epoch"), "trainer.max_epochs"),
    **dict.fromkeys(("steps", "max_update", "train_steps", "num_steps"), "trainer.max_steps"),
    **dict.fromkeys(("gpus", "num_gpus", "ngpus", "world_size"), "trainer.devices"),
    **dict.fromkeys(("output_dir", "out_dir", "output", "save_dir", "run_folder", "run_dir"), "run"),
    **dict.fromkeys(("checkpoint", "ckpt", "model_path", "load"), "ckpt_path"),
    **dict.fromkeys(("seed", "random_seed"), "seed_everything"),
    **dict.fromkeys(("beam", "beams", "num_beams"), "decoding.beam_size"),
    **dict.fromkeys(("fp16", "bf16", "amp"), "trainer.precision"),
    **dict.fromkeys(("clip_norm", "max_grad_norm", "gradient_clip"), "trainer.gradient_clip_val"),
    **dict.fromkeys(("update_freq", "accum_count", "gradient_accumulation_steps"), "trainer.accumulate_grad_batches"),
    **dict.fromkeys(("early_stopping", "early_stopping_patience"), "patience"),
    **dict.fromkeys(("workers", "num_workers"), "data.num_workers"),
    "dropout": "model.dropout",
}
"""The name of an option in other programs -> ours."""


_load = jsonargparse.get_loader("yaml")


def load_value(text: str) -> Any:
    """Read a value of an option, or a file that an option names, as jsonargparse does, unless it expands too far."""
    try:
        if "&" in text or len(text) > 1000:
            check_yaml(text)
        return _load(text)
    except RecursionError as error:
        raise yaml.YAMLError("it nests too deeply") from error


jsonargparse.set_loader("yaml", load_value, exceptions=(yaml.YAMLError,))


class Parser(jsonargparse.ArgumentParser):
    """A parser that raises UserError, and that takes no abbreviated option."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser inside another one, which will explain
            super().error(message, ex)
        raise UserError(explain(message, self)) from ex

    def parse_args(self, *args: Any, **kwargs: Any) -> jsonargparse.Namespace:  # type: ignore[override]
        """Parse, and say in one line which module of a class cannot be imported."""
        try:
            return super().parse_args(*args, **kwargs)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            runs = any(frame.name == "<module>" for frame in extract_tb(error.__traceback__))
            if not (runs or isinstance(error, SyntaxError)):
                raise
            raise UserError(f"a module that is named cannot be imported: {located(error)}") from error

    def instantiate(self, namespace: jsonargparse.Namespace, *args: Any, **kwargs: Any) -> jsonargparse.Namespace:
        """The objects of a configuration; a constructor's ValueError is a UserError."""
        kwargs = {"instantiators": [(constructed, object, True)], **kwargs}
        _refusals.clear()
        try:
            objects: jsonargparse.Namespace = super().instantiate(namespace, *args, **kwargs)
        except ValueError as error:
            if _refusals:  # of a class that may be one of several things, where jsonargparse tries the others too
                raise _refusals[0] from error
            raise
        return objects


_refusals: list[UserError] = []
"""Errors of constructors that refused their arguments since ``instantiate`` began."""


def constructed(owner: type, *args: Any, **kwargs: Any) -> Any:
    """An object whose arguments the user chose.

    Raises:
        UserError: the class refuses a value or does not take the arguments, or it is a user's own part of a network.
            Any other error is one of its own.
    """
    try:
        refuse_nulls(owner, kwargs)
        return owner(*args, **kwargs)
    except UserError as error:
        _refusals.append(error)
        raise
    except Exception as error:
        inside = error.__traceback__ is not None and error.__traceback__.tb_next is not None
        refuses = isinstance(error, ValueError | MisconfigurationException) or (type(error) is TypeError and not inside)
        own = from_own_code(error)
        contract = None if owner.__module__.startswith("s2s_lightning.") else getattr(owner, "contract", None)
        if not (refuses or own or contract):
            raise
        said = located(error)
        if refuses:
            said = str(error) + (" (" + said.rpartition(" (")[2] if own else "")
        rule = f"; its form is {contract}" if contract and not isinstance(error, ValueError) else ""
        _refusals.append(UserError(f"{owner.__name__}: {said}{rule}"))
        raise _refusals[-1] from error


def explain(message: str, parser: jsonargparse.ArgumentParser) -> str:
    """One line for a message of jsonargparse's; the message itself, squeezed, if it is of no known form."""
    if broken := broken_import(message):
        return broken
    place = _Place(parser)
    lines = message.splitlines()
    for number, line in enumerate(lines):
        place.follow(line, message)
        for pattern, mistake in _MISTAKES.items():
            if match := re.search(pattern, line):
                return mistake(place, match, lines[number:])
    return " ".join(message.split())


@dataclass
class _Place:
    """Place in the configuration that a message has reached.

    Attributes:
        parser: of the whole command.
        keys: on the way in.
        owners: class paths on the way in; the last one's arguments are being read.
        types: what the value may be, if it may be several things.
    """

    parser: jsonargparse.ArgumentParser
    keys: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    types: str | None = None

    def follow(self, line: str, message: str) -> None:
        """Go where a line leads."""
        if match := re.search(r'Parser key "([^"]+)"', line):
            self.keys.append(match[1])
            self.types = None
        if match := re.search(r"Problem with given class_path '([^']+)'", line):
            self.owners.append(match[1])
        if "a callable class: " in line and (match := re.search(r"class_path='([^']+)'", message)):
            self.owners.append(match[1])
        if match := re.search(r"Subtypes: \[(.*)\]", line):
            self.types = match[1]

    def option(self, key: str = "") -> str:
        """The way to type the last key, or ``key`` below it."""
        return "--" + ".".join([*self.keys, key] if key else self.keys)

    def options(self) -> dict[str, Any]:
        """The keys that can stand below this place, with their types."""
        return class_options(self.owners[-1]) if self.owners else parser_options(self.parser)

    def classes(self) -> dict[str, type]:
        """Return the classes that the last key can name, by their short names."""
        return {c.__name__: c for base in self.expected() for c in concrete_subclasses(base)}

    def expected(self) -> list[type]:
        """Return the classes that the last key takes subclasses of."""
        outer = class_options(self.owners[len(self.keys) - 2]) if len(self.keys) > 1 else parser_options(self.parser)
        return list(bases(outer.get(self.keys[-1])))


def parser_options(parser: jsonargparse.ArgumentParser) -> dict[str, Any]:
    """Key -> type of each option of a parser."""
    options = {action.dest: getattr(action, "_typehint", None) for action in parser._actions}
    return {key: hint for key, hint in options.items() if not key.endswith("help")}


def class_options(class_path: str) -> dict[str, Any]:
    """Argument -> type of a class."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(locate(class_path), fail_untyped=False)
    return parser_options(parser)


def arguments_of(owner: type) -> list[str]:
    """Return the names of a constructor's arguments, those that its ``**options`` hand on included."""
    parameters = inspect.signature(owner).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return list(class_options(f"{owner.__module__}.{owner.__qualname__}"))
    return list(parameters)


def nested_options(parser: jsonargparse.ArgumentParser) -> list[str]:
    """The options of a parser and of each class that can be named in it, the Trainer's aside, which are too many."""
    options = parser_options(parser)
    named = {
        f"{key}.{argument}"
        for key, hint in options.items()
        if not key.startswith("trainer.")
        for base in bases(hint)
        for owner in concrete_subclasses(base)
        for argument in arguments_of(owner)
    }
    return [*options, *sorted(named)]


def bases(hint: Any) -> Iterator[type]:
    """The classes in a type that can be subclassed: of a callable, those it returns."""
    if get_origin(hint) is not None:
        arguments = get_args(hint)
        for argument in arguments[-1:] if get_origin(hint) is Callable else arguments:
            yield from bases(argument)
    elif isinstance(hint, type) and hint.__module__ != "builtins":
        yield hint


def concrete_subclasses(base: type) -> Iterator[type]:
    """Yield all imported classes below ``base`` that a user can name."""
    children: list[type] = base.__subclasses__()
    for child in children:
        if not (inspect.isabstract(child) or child.__name__.startswith("_")):
            yield child
        yield from concrete_subclasses(child)


def _short(class_path: str) -> str:
    return class_path.rsplit(".", 1)[-1]


def as_text(value: Any, kind: type) -> str:
    """A value of a type that is written as text; ValueError for any other, of which a union may have one."""
    if not isinstance(value, kind):
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return str(value)


_VALUE = r"(?:Given|Got) value: (.*?)(?:\. Got value: .*)?$"

_Mistake = Callable[[_Place, re.Match[str], list[str]], str]
"""(where, what was recognised, the lines from there on) -> the one line."""


def _unknown(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    return _no_option(place, ".".join(match.groups()))


def _no_option(place: _Place, key: str) -> str:
    prefix = place.option() + "." if place.keys else "--"
    problem = f"{prefix}{key} is not an option"
    if not place.owners:
        return problem + did_you_mean(closest_key(key, place.options()), prefix)
    problem += f" of {_short(place.owners[-1])}"
    if misspelt := closest(key.split(".")[0], ("class_path", "init_args")):
        return problem + did_you_mean(misspelt)
    options = place.options()
    return problem + (did_you_mean(closest(key, options), prefix) or _elsewhere(place, key) or _among(options))


def _elsewhere(place: _Place, key: str) -> str:
    """The classes that could stand here and have the option."""
    owners = [name for name, owner in place.classes().items() if key in arguments_of(owner)]
    return f", but of {' and '.join(owners)}: add {place.option()} {owners[0]} before it" if owners else ""


def _abstract(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    """An option of a class that has not been chosen yet."""
    return f"{place.option()} must name a class before its options{_among(sorted(place.classes()))}"


def _among(names: Iterable[str]) -> str:
    return f"; choose one of {', '.join(names)}"


def _unrecognized(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    argument = match[1]
    if argument.startswith("--") and place.owners:  # of a part that is given by its class path
        return _no_option(place, argument[2:])
    if argument.startswith("-"):
        best = _usual(argument, place) or closest_key(_spelt(argument), nested_options(place.parser))
        return f"{argument} is not an option{did_you_mean(best, '--')}"
    hint = f": did you mean --config {argument}?" if argument.endswith((".yaml", ".yml")) else ""
    return f"{argument!r} stands alone, but options begin with --{hint}"


def _usual(argument: str, place: _Place) -> str | None:
    """Our option for what other programs call so, if the command has it."""
    best = USUAL_NAMES.get(_spelt(argument))
    return best if best and (best in (known := parser_options(place.parser)) or best.split(".")[0] in known) else None


def _spelt(argument: str) -> str:
    """The name of an option as options are spelt here: no leading dashes, and underscores within."""
    return argument.lstrip("-").replace("-", "_")


def _required(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    missing = [place.option(key) for key in match[1].split(", ")]
    if missing == ["--model"]:
        return "no model is given: add --config configs/<name>.yaml or --model <class>"
    owner = _short(place.owners[-1]) + " needs" if place.owners else "missing:"
    return f"{owner} {' and '.join(missing)}"


def _unknown_class(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    return _no_class(place, match[1])


def _missing_class(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    named = re.search(r"Got value: ([\w.]+)$", match.string)
    return _no_class(place, named[1] if named else place.owners.pop())


def _no_class(place: _Place, name: str) -> str:
    if not name.startswith(PACKAGES) and (problem := no_class(name)):
        return f"{place.option()}={name}: {problem}"
    names = sorted(place.classes())
    hint = did_you_mean(closest(_short(name), names)) or f"{_among(names)}, or a class path"
    return f"{place.option()}={name} names no class{hint}"


def _no_name(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    return f"{place.option()}={_yaml(match[1])} names no class{_among(sorted(place.classes()))}, or a class path"


def _no_group(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    return f"{place.option()}={match[1]}: it maps options to values; give them one by one, as {place.option('OPTION')}"


def _wrong_length(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    return f"{place.option()}={match[2]}: expected a list of {match[1]} values"


def _yaml(value: str) -> str:
    return "null" if value == "None" else value


def _wrong_class(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    given = next((line.split("Given value: ")[1] for line in rest if "Given value: " in line), match.string)
    name = re.search(r"'class_path': '([^']+)'", given) or re.search(r"Import path (\S+) does not", given)
    if problem := _wrong_own(place, name[1] if name else given):
        return problem
    return f"{place.option()}={name[1] if name else given} is no {match[1]}{_among(sorted(place.classes()))}"


def _wrong_own(place: _Place, name: str) -> str | None:
    """The line for a class of the user's own that is missing in its module or does not fit; None for other names."""
    if not DOTTED.fullmatch(name):
        return None
    problems = (no_class(name), *(wrong_base(name, base) for base in reversed(place.expected())))
    return next((f"{place.option()}={name}: {problem}" for problem in problems if problem), None)


def _wrong_part(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    if problem := _wrong_own(place, match[1]):
        return problem
    return f"{place.option()}={match[1]} is no {match[2]}{_among(sorted(place.classes()))}"


def _wrong_type(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    value = next((found[1] for found in (re.search(_VALUE, line) for line in rest) if found), None)
    if value is None:
        return f"{place.option()}: {match.string.strip()}"
    if problem := _wrong_own(place, value):
        return problem
    expected = place.types or match[1]
    choices = re.findall(r"'([^']+)'", expected) if "Literal" in expected else []
    hint = did_you_mean(closest(value, choices)) or _to_be_quoted(value, expected)
    return f"{place.option()}={value}: expected {_readable(expected)}{hint}"


def _to_be_quoted(value: str, expected: str) -> str:
    """A hint where YAML has read a text as something else."""
    if "str" not in expected and "Literal" not in expected:
        return ""
    if value in ("True", "False"):
        return "; YAML reads a bare yes, no, on or off as a boolean: put a text in quotes"
    return (
        "; YAML reads a bare number or date as one: put a text in quotes" if re.fullmatch(r"[-+.\d:e_]+", value) else ""
    )


def _readable(types: str) -> str:
    """``<class 'int'>, <class 'NoneType'>`` -> ``int or null``; ``typing.Literal['a', 'b']`` -> ``a or b``."""
    types = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", types).replace("NoneType", "null")
    types = re.sub(r"typing\.Literal\[([^\]]*)\]", r"\1", types).replace("'", "")
    return types.replace(", ", " or ")


def _no_file(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    return f"{place.option()}: there is no file {match[1]}"


def _bad_yaml(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    return f"a configuration file is not valid YAML: {' '.join([match[1], *map(str.strip, rest[1:])])}"


def _no_mapping(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    return f"a configuration file maps keys to values, but this one says {match[1]!r}"


def _bad_argument(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    hint = "; a value that begins with a hyphen needs =, as in --option=-1" if "expected one" in match[2] else ""
    return f"{match[1]}: {match[2]}{hint}"


def _not_known(place: _Place, match: re.Match[str], rest: list[str]) -> str:
    return unknown(match[1], f"the value of {place.option()}")


_MISTAKES: dict[str, _Mistake] = {
    r"Importing '([^']+)' is not allowed": _not_known,
    r"Group '([^']+)' does not accept option '([^']+)'": _unknown,
    r"Option '([^']+?)(?:\.class_path|\.init_args.*)?' is not accepted": _unknown,
    r"unrecognized arguments: ([^\s=]+)": _unrecognized,
    r"arguments are required: (.+?)(?:\. Got value: .*)?$": _required,
    r"Expected a dot import path string: (\S+)": _unknown_class,
    r"Expected an instantiatable class": _abstract,
    r"Expected an import path or a subclass spec, but got (.*?)(?:\. Got value: .*)?$": _no_name,
    r"Not a valid subclass of \w+\. Got value: (.*)": _no_name,
    r"Expected an? tuple with (\d+) elements?\. Got value: (.*?)(?:\. Got value: .*)?$": _wrong_length,
    r"Unable to load config ['\"](.*?)['\"]": _no_group,
    r"module '[^']+' has no attribute|No module named": _missing_class,
    r"does not correspond to a subclass of (\w+)": _wrong_class,
    r"Expected '([^']+)' to be a subclass of <class '(\w+)'>": _wrong_part,
    r"Expected an? (<class '(?!list)[^']+'>|typing\.[^.]*?\]|[\w.\[\]]+)(?:\. Got value: .*)?$": _wrong_type,
    r"File does not exist: '?([^']+)'?": _no_file,
    r"Problems parsing config: (.*)": _bad_yaml,
    r"Unexpected config: (.*)": _no_mapping,
    r"^argument (\S+): (.*)": _bad_argument,
}
"""A pattern of one line of jsonargparse's -> what it means; the first that matches counts."""
