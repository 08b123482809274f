"""A checkpoint alone is enough: its configuration, its network, its tokenizers."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from s2s_lightning import __version__
from s2s_lightning.checkpoints.exported_folder import read_folder
from s2s_lightning.checkpoints.keys import CHECKPOINT_KEY, Config
from s2s_lightning.checkpoints.memory_limit import MemoryLimit
from s2s_lightning.checkpoints.version import check_version, written_by
from s2s_lightning.checkpoints.vocabulary_rows import Moves, lines, move_rows, moves_between
from s2s_lightning.config.parser import Parser
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.data.tokenizers.given import frozen_tokenizers
from s2s_lightning.data.vocabularies import Tokenizers
from s2s_lightning.decoding import Decoding
from s2s_lightning.errors import UserError, user_error_of
from s2s_lightning.files.run_checkpoints import checkpoint_in
from s2s_lightning.inference import quantization
from s2s_lightning.inference.trained import Trained
from s2s_lightning.model import Seq2Seq
from s2s_lightning.training.module import Seq2SeqModule
from s2s_lightning.trust import names
from s2s_lightning.trust.guard import check_names, known_names_alone
from s2s_lightning.trust.names import allow, lookup
from s2s_lightning.trust.signature import damage, is_own

VOCABULARY_SIZES = ("src_vocab_size", "tgt_vocab_size")
"""Arguments of a model that the tokenizers give."""

AVERAGE_OF = "average_of"
"""Key of a checkpoint -> what it is the average of, a mapping of path, step and epoch for each."""

SETTLED = {
    "model": "network",
    "data.tokenizer": "tokenizers",
    "data.tgt_tokenizer": "tokenizers",
    "data.reverse_source": "order of reading",
}
"""Key -> what a checkpoint settles by it."""


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    max_tokens: int = 4096,
    *,
    trust: Sequence[str] = (),
    dtype: Literal["float32", "bfloat16"] = "float32",
    quantize: Literal["int8"] | None = None,
) -> Trained:
    """A checkpoint, of the command line or of a Lightning Trainer with ``Seq2SeqData``, ready to generate.

    Args:
        path: the checkpoint, the folder of a run, whose best one is taken, or the folder that ``export`` made of one.
        device: where the network goes.
        max_tokens: source tokens of a batch, padding included.
        trust: modules that the file may name besides this package: they are imported, which runs their code.
        dtype: what the network computes in; log-probabilities are float32 at least.
        quantize: "int8" for 8-bit integer products of the linear layers, on the CPU; see ``quantization.quantize``.

    Raises:
        UserError: the file is missing, or is no checkpoint of this package; quantisation that cannot be.
    """
    names.trust(trust)
    path = Path(path).expanduser()
    checkpoint = read(path)
    module = build(checkpoint, path)
    config = stored_config(checkpoint)
    if "decoding" in config:
        module.decoding = instantiate(config["decoding"], Decoding, "decoding")
    copy = data_state(checkpoint).get("copy", False)
    data = Seq2SeqData(tokenizers_from=str(path), max_tokens=max_tokens, copy=copy)
    data.take_lengths(data_state(checkpoint).get("lengths"))
    quantization.check(dtype, quantize, torch.device(device))
    module = module.to(device, getattr(torch, dtype)).eval()
    quantized = None if quantize is None else quantization.quantize(module.model)
    return Trained(module, data, config, quantized)


def read(path: str | Path, *, check: bool = True) -> dict[str, Any]:
    """Return the content of a checkpoint, of the best one of a run's folder, or of an exported folder; nothing is run.

    The tensors of a checkpoint are read when they are used. The names in one that this user wrote may be imported.

    Args:
        path: the file or folder.
        check: compare its checksums first, once for each file.

    Raises:
        UserError: the file is missing, damaged, of a newer format, or no checkpoint.
    """
    path = checkpoint_in(path)
    if path.is_dir():
        return read_folder(path)
    if not Path(path).is_file():
        raise UserError(f"there is no checkpoint {path}")
    if check:
        refuse_damaged(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever a hostile file makes of a reader
        raise UserError(f"{path} is no checkpoint, or holds more than weights and plain settings") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("class_path"), str):
        raise UserError(f"{path} is no checkpoint of s2s_lightning: it does not name its model's class")
    check_version(checkpoint, path)
    _refuse_unreal_sizes(checkpoint, path)
    if is_own(path):
        allow({key: part for key, part in checkpoint.items() if key != "state_dict"})
    return checkpoint


def refuse_damaged(path: str | Path) -> None:
    """Raise UserError if the file is not what its checksums say."""
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no checkpoint, or a damaged one: its writing was cut short; take another")
    if what := damage(path):
        raise UserError(f"{path} is damaged: {what}; take another checkpoint, or copy it again")


def _refuse_unreal_sizes(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Raise UserError for a tensor that declares more numbers than the file holds."""
    state = checkpoint.get("state_dict")
    if not (isinstance(state, dict) and all(isinstance(each, Tensor) for each in state.values())):
        raise UserError(f"{path} is no checkpoint of s2s_lightning: its state_dict is not a mapping of tensors")
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(
                f"{path}: the tensor {name} of shape {tuple(tensor.shape)} is larger than what the file holds"
            )


def data_state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What the data module put into a checkpoint: tokenizers, and whether words are copied; empty without one."""
    parts = (part for part in checkpoint.values() if isinstance(part, dict) and "tokenizers" in part)
    return next(parts, {})


def tied(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Each name -> the first name of the same tensor, its own where nothing is shared."""
    owners: dict[Any, str] = {}
    return {name: owners.setdefault(_place(name, tensor), name) for name, tensor in state.items()}


def _place(name: str, tensor: Tensor) -> Any:
    return (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else name


def check_resumable(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Raises UserError for one that holds weights alone, as an average does."""
    if "optimizer_states" not in checkpoint:
        of = checkpoint.get(AVERAGE_OF)
        what = f"is an average of {len(of)} checkpoints" if of else "was saved with its weights alone"
        raise UserError(
            f"{path} {what}, so that no optimizer can go on from it; begin a new run: fit --init_from {path}"
        )


def build(checkpoint: dict[str, Any], path: str | Path) -> Seq2SeqModule:
    """The module with its weights, made as the command line made it, or else of its own hyperparameters.

    Raises:
        UserError: its class is not to be found.
    """
    import s2s_lightning.families  # noqa: F401  # a class is known once it is imported

    owner = lookup(checkpoint["class_path"], Seq2SeqModule, path)
    settings = checkpoint.get("hyper_parameters", {})
    if CHECKPOINT_KEY not in checkpoint:
        if private := next((key for key in settings if str(key).startswith("_")), None):
            raise UserError(f"{path}: the hyperparameter {private} is none of a model's")
        with MemoryLimit():
            return owner.load_from_checkpoint(checkpoint_in(path), map_location="cpu", weights_only=True)
    spec = checkpoint[CHECKPOINT_KEY]["model"]
    sizes = {name: settings[name] for name in VOCABULARY_SIZES if name in settings}
    check_names(spec, path)
    try:
        module: Seq2SeqModule = instantiate({**spec, "init_args": {**spec["init_args"], **sizes}}, Seq2SeqModule)
        module.load_state_dict(checkpoint["state_dict"])
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, UserError) as error:
        why = " ".join(str(user_error_of(error) or error).split())
        raise UserError(
            f"{path}, written by s2s_lightning {written_by(checkpoint)}, does not fit {owner.__name__} of "
            f"{__version__}: {why}; install the version or the code that wrote it"
        ) from error
    return module


def other_network(path: str, data: Seq2SeqData) -> Seq2Seq:
    """The network of a checkpoint for batches of ``data``, in eval mode: a teacher, a member of an ensemble.

    Raises:
        UserError: the file is missing or no checkpoint, or reads or writes other ids than the data has.
    """
    network = build(read(path), path).eval().model
    theirs, ours = Tokenizers.from_state(frozen_tokenizers(path)), data.tokenizers
    _refuse(path, "source vocabulary", theirs.src.frozen() != ours.src.frozen())
    _refuse(path, "target vocabulary", theirs.target.frozen() != ours.target.frozen())
    _refuse(path, "order of reading (data.reverse_source)", theirs.reverse_source != ours.reverse_source)
    return network


def other_language_model(path: str, data: Seq2SeqData) -> Seq2Seq:
    """The network of a language model that writes the target ids of ``data``, in eval mode.

    Raises:
        UserError: the file is missing or no checkpoint, or writes other ids than the data has.
    """
    network = build(read(path), path).eval().model
    theirs = Tokenizers.from_state(frozen_tokenizers(path)).target
    _refuse(path, "target vocabulary", theirs.frozen() != data.tokenizers.target.frozen())
    return network


def _refuse(path: str, name: str, differs: bool) -> None:
    if differs:
        raise UserError(f"{path} has another {name} than the data; train with its own: --data.tokenizers_from {path}")


def stored_config(checkpoint: dict[str, Any]) -> Config:
    """The configuration of the run; of a run without the command line its model alone."""
    if config := checkpoint.get(CHECKPOINT_KEY):
        return dict(config)
    arguments = {k: v for k, v in checkpoint["hyper_parameters"].items() if k not in VOCABULARY_SIZES}
    return {"model": {"class_path": checkpoint["class_path"], "init_args": arguments}}


def refuse(config: Config, stored: Config, keys: Mapping[str, str] = SETTLED) -> None:
    """What a checkpoint settles is not to be asked for otherwise.

    Args:
        config: what is asked for.
        stored: what the checkpoint was trained with.
        keys: dotted keys below which they must agree -> what the checkpoint settles by them.

    Raises:
        UserError: names each setting that differs; of a part that is of another class, its class alone.
    """
    trained = dict(leaves(stored))
    found: dict[str, str] = {}
    used: dict[str, None] = {}
    for name, value in leaves(config):
        below = next((key for key in keys if name == key or name.startswith(key + ".")), None)
        if below is None:
            continue
        fixed = name if name in trained else below  # null in the checkpoint where there is a class now
        if fixed not in trained or trained[fixed] == value or any(name.startswith(part) for part in found):
            continue
        found[name.removesuffix("class_path")] = f"{name}={value} contradicts the checkpoint's {said(trained[fixed])}"
        used[keys[below]] = None
    if found:
        raise UserError(
            f"{'; '.join(found.values())}: a checkpoint keeps its {', '.join(used)}; "
            "leave it out, or change it in a new run with fit --init_from"
        )


def said(value: Any) -> str:
    """A stored setting in words."""
    return "default" if value is None else str(value)


def leaves(config: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of each entry, as they are typed on the command line, without ``init_args``."""
    for key, value in config.items():
        name = prefix if key == "init_args" else f"{prefix}.{key}".lstrip(".")
        if isinstance(value, dict):
            yield from leaves(value, name)
        else:
            yield name, value


def vocabulary_moves(checkpoint: dict[str, Any], data: Seq2SeqData) -> tuple[list[str], Moves | None]:
    """Return lines on vocabularies that are not the checkpoint's, and where its rows go in those of ``data``."""
    frozen = data_state(checkpoint).get("tokenizers")
    if frozen is None:
        return ["the checkpoint has no tokenizers: rows of embeddings and readout keep their places"], None
    theirs, ours = Tokenizers.from_state(frozen), data.tokenizers
    moves = moves_between(theirs, ours)
    return list(lines(moves, theirs.tgt is None and ours.tgt is None)), moves


def initialise_from(module: Seq2SeqModule, state: dict[str, Tensor], moves: Moves | None = None) -> list[str]:
    """Copy the weights that match in name and shape, rows of other vocabularies to the same symbols.

    Args:
        module: gets the weights.
        state: the checkpoint's.
        moves: from its vocabularies to those of ``module``; None: they are the same.

    Returns:
        A line for each tensor that does not match, on either side.
    """
    own = module.state_dict()
    both = own.keys() & state.keys()
    sides = {f"model.{name}": side for name, side in module.model.vocabulary_rows().items()}
    of_rows = {name: move for name, side in sides.items() if name in both and moves and (move := moves[side])}
    of_rows = {name: move for name, move in of_rows.items() if move.concerns(state[name], own[name])}
    matching = {name: t for name, t in state.items() if name in both - of_rows.keys() and own[name].shape == t.shape}
    module.load_state_dict(matching, strict=False)
    moved = move_rows(own, state, of_rows)
    found = [*_not_initialised(own, state, matching.keys() | moved), *_merged(own, state)]
    return [*found, *(f"{name}: not in this model" for name in state if name not in own)]


def _merged(own: dict[str, Tensor], state: dict[str, Tensor]) -> Iterator[str]:
    """Yield a line for each tensor that is shared here, and was two in the checkpoint."""
    theirs = tied({name: state[name] for name in own if name in state})
    for name, owner in tied(own).items():
        two = name in theirs and owner in theirs and theirs[name] != theirs[owner]
        if two and not torch.equal(state[name], state[owner]):
            yield f"{owner} and {name}: one tensor here, two in the checkpoint; where they differ the second counts"


def _not_initialised(own: dict[str, Tensor], state: dict[str, Tensor], copied: Set[str]) -> Iterator[str]:
    for name, tensor in own.items():
        if name not in state:
            yield f"{name}: not in the checkpoint, stays at its initialisation"
        elif name not in copied:
            shapes = f"{tuple(state[name].shape)} in the checkpoint, {tuple(tensor.shape)} here"
            yield f"{name}: {shapes}, stays at its initialisation"


def instantiate(spec: Config, base: type, key: str = "model") -> Any:
    """Return the object that ``{class_path, init_args}`` of a stored configuration describes.

    Args:
        spec: class and arguments.
        base: what it must be a subclass of.
        key: where the configuration keeps it, for messages.

    Raises:
        UserError: a class that is neither known nor trusted, an option that it lacks, or a value that it refuses.
    """
    parser = Parser()
    parser.add_argument(f"--{key}", type=base)
    with known_names_alone(), MemoryLimit():
        return parser.instantiate(parser.parse_object({key: spec}))[key]
