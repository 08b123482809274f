"""The command line of training and evaluation: LightningCLI with groups for what a seq2seq run needs."""

import signal
import sys
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from jsonargparse.typing import register_type
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, StochasticWeightAveraging
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info

import s2s_lightning.evaluation.mbr_utilities
import s2s_lightning.families  # noqa: F401
from s2s_lightning import PROGRAM
from s2s_lightning.callbacks import DEFAULT_CALLBACKS
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.callbacks.checkpointing.end_of_run import Patience, ValidateAtEnd
from s2s_lightning.callbacks.checkpointing.monitors import Monitors
from s2s_lightning.callbacks.checkpointing.new_settings import NewSettings
from s2s_lightning.callbacks.checkpointing.stop_signal import StopWhenAsked
from s2s_lightning.callbacks.diagnostics.skipped_steps import SkippedSteps
from s2s_lightning.callbacks.reports.configuration import Configuration
from s2s_lightning.callbacks.weights.compile import Compile
from s2s_lightning.callbacks.weights.random_draws import Draws
from s2s_lightning.checkpoints.changed_settings import Change, changes, refuse_other_data, say, touched
from s2s_lightning.checkpoints.checkpoint import (
    check_resumable,
    data_state,
    initialise_from,
    read,
    refuse,
    stored_config,
    vocabulary_moves,
)
from s2s_lightning.checkpoints.keys import PLACES, VOCABULARY_SIZES, WAYS_TO_START, Config
from s2s_lightning.checkpoints.memory_limit import MemoryLimit
from s2s_lightning.cluster.children import LEAVE, end_with_parent, watch_children
from s2s_lightning.cluster.loopback import stay_on_this_machine
from s2s_lightning.cluster.place import started_by_rank_0, torchrun_size
from s2s_lightning.cluster.roll_call import RollCall
from s2s_lightning.config.config_files import arranged, at_home, config_files, given
from s2s_lightning.config.parser import Parser, as_text, constructed
from s2s_lightning.data import CheckpointFile, Seq2SeqData
from s2s_lightning.decoding import Decoding
from s2s_lightning.errors import UserError, check_seed, without_addresses_secrets
from s2s_lightning.experiments.sweeps.study_trial import of_environment
from s2s_lightning.files.run_checkpoints import checkpoint_in
from s2s_lightning.objectives import Objective
from s2s_lightning.python.trainers import TRAINER_DEFAULTS, as_list, attach, beside
from s2s_lightning.runs.finished import forget_end, mark_end
from s2s_lightning.runs.folder import enter, is_time, new_run_folder
from s2s_lightning.runs.growing_files import growing_files
from s2s_lightning.runs.lock import hold, release
from s2s_lightning.runs.resume import WAIT, named_run, tidy
from s2s_lightning.tracking import Identity, Record, copied_from, identity_of, loggers
from s2s_lightning.tracking.wandb_trial import WandbTrial, failure_reported, in_sweep
from s2s_lightning.training.module import OptimizerCallable, Seq2SeqModule
from s2s_lightning.training.quiet import hush
from s2s_lightning.training.schedules import Schedule
from s2s_lightning.training.trainer_errors import explained, refuse_missing_package
from s2s_lightning.training.trainer_settings import check_trainer
from s2s_lightning.trust.guard import check_names, known_names_alone, without_places
from s2s_lightning.trust.names import mentioned, with_public_names
from s2s_lightning.trust.signature import is_own

INJECTED = {
    "objective": (Objective, "s2s_lightning.objectives.LabelSmoothedCrossEntropy", "what training minimises"),
    "optimizer": (OptimizerCallable, "torch.optim.AdamW", "the optimizer; its lr is the peak of the schedule"),
    "schedule": (Schedule, "s2s_lightning.training.schedules.Constant", "the learning rate over time"),
    "decoding": (Decoding, "s2s_lightning.decoding.Greedy", "the search of evaluation and generation"),
}
"""Attribute of the module -> (type, default class, help). A checkpoint does not settle them."""

LEFT_TO_TRAINING = ("trainer", "objective", "optimizer", "schedule", "checkpoint", "patience", "compile")
"""Groups of a stored configuration that an evaluation neither needs nor builds: callbacks and loggers among them."""


register_type(CheckpointFile, partial(as_text, kind=CheckpointFile), CheckpointFile.named)


def within_memory(owner: type, *args: Any, **kwargs: Any) -> Any:
    """Build a network that this machine can hold."""
    with MemoryLimit():
        return constructed(owner, *args, **kwargs)


class ArgumentParser(Parser, LightningArgumentParser):
    """Lightning's parser with our errors."""

    def instantiate(self, namespace: Namespace, *args: Any, **kwargs: Any) -> Namespace:
        """The objects of a configuration."""
        makers = [(within_memory, Seq2SeqModule, True), (constructed, object, True)]
        return super().instantiate(namespace, *args, **{"instantiators": makers, **kwargs})


class CLI(LightningCLI):
    """One command, parsed on top of what its checkpoint says and instantiated; ``start`` runs it."""

    needs_model = True

    def __init__(self, command: str, args: Sequence[str]) -> None:
        hush()
        self.command = command
        self.goes_on_with: Identity | None = None
        self.goes_on_at = 0
        self.fingerprints: dict[str, str] = {}
        self.changed: list[Change] = []
        args = arranged(command, args)
        self.given = given(args)
        self.typed = typed_names(args)
        if command != "fit" and (path := self.given.get("ckpt_path")):
            self.given["ckpt_path"] = str(checkpoint_in(path))
        self.run = named_run(self.given) if command == "fit" else None
        self.name = run_name(config_files(args), self.given.get("ckpt_path"))
        super().__init__(
            Seq2SeqModule,
            Seq2SeqData,
            subclass_mode_model=True,
            save_config_callback=None,
            seed_everything_default=1,
            parser_class=ArgumentParser,
            parser_kwargs={"prog": command, "usage": usage(command), "description": None},
            args=list(args),
            run=False,
            auto_configure_optimizers=False,
        )

    # Parsing

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(Seq2SeqModule, "model", subclass_mode=True, required=self.needs_model)
        parser.add_lightning_class_args(Seq2SeqData, "data")
        parser.add_lightning_class_args(Trainer, "trainer")
        parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for key, (kind, _, text) in INJECTED.items():
            parser.add_argument(f"--{key}", type=kind, help=text)
        parser.add_class_arguments(BestAndLast, "checkpoint")
        for name, callback in DEFAULT_CALLBACKS.items():
            parser.add_lightning_class_args(callback, name)
        parser.add_argument(
            "--patience",
            type=int | None,
            help="validations without improvement of --checkpoint.monitor after which the run ends",
        )
        parser.add_argument(
            "--test_best",
            type=bool,
            default=False,
            help="when fit has ended, test its best checkpoint, where there is a test split",
        )
        parser.add_argument(
            "--ckpt_path", type=str | None, help="checkpoint to go on from in a new folder (fit) or to evaluate"
        )
        parser.add_argument(
            "--compile",
            type=bool,
            default=False,
            help="compile the network for training, which takes minutes at the start; see docs/cluster/hardware.md",
        )
        parser.add_argument(
            "--init_from",
            type=str | None,
            help="checkpoint whose weights and tokenizers a new run starts from; model and tokenizers can be changed",
        )
        if self.command in ("fit", "prepare"):
            parser.add_argument(
                "--resume",
                type=str | None,
                help="folder of a run to go on with, in that folder, from its newest whole checkpoint",
            )
            parser.add_argument(
                "--wait",
                type=float,
                default=WAIT,
                help="seconds to wait for another process that trains in the run's folder to end, before this one is "
                "refused: a requeued job may be there before its old process is gone",
            )
            parser.add_argument(
                "--run",
                type=str | None,
                help="folder of the run instead of a new one; a run goes on there from its newest whole checkpoint, "
                "if there is one: the same command line begins and continues it",
            )
        for side in ("src", "tgt"):
            source, target = f"data.{side}_vocab_size", f"model.init_args.{side}_vocab_size"
            parser.link_arguments(source, target, apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """The settings of the checkpoint, if any, then the configuration files and options in their order."""
        stored = known = self._stored(self.given)
        if self.run and self.run.checkpoint:
            stored = self._stored({"ckpt_path": str(self.run.checkpoint)})
            known = known if self._typed_in_full() else stored
        with known_names_alone(self.typed):
            self._parse(parser, args, known, stored)

    def _parse(self, parser: LightningArgumentParser, args: Any, known: Config, stored: Config) -> None:
        """Put the arguments over what is known, and compare the result with what is stored."""
        # Defaults with their class alone: --optimizer Adam must not inherit the weight decay of AdamW.
        classes: Config = {key: {"class_path": path} for key, (_, path, _) in INJECTED.items()}
        if self.command == "fit":
            classes["trainer"] = {"logger": {"class_path": "s2s_lightning.tracking.Wandb"}}
        base = parser.parse_object(deepcopy({**classes, **known}), defaults=False, _skip_validation=True)
        self.config = parser.parse_args(args, namespace=base)
        for group in set(vars(self.config)) - {"decoding"}:  # which may have texts
            self.config[group] = at_home(self.config[group])
        for group in ("data", "trainer", "checkpoint"):
            if not isinstance(self.config[group], Namespace):
                raise UserError(f"{group} must map options to values, but is {self.config[group]!r}")
        check_seed(self.config.seed_everything)
        check_trainer(self.config.trainer, self.command)
        if model := self.config.model:
            refuse_vocabulary_sizes(model.init_args)
        if self.run and self.run.checkpoint:
            self.config.ckpt_path, self.config.init_from = str(self.run.checkpoint), None
        if self.config.ckpt_path and self.command == "fit":
            if self.config.seed_everything is True:  # any will do: the one that was chosen then
                self.config.seed_everything = stored.get("seed_everything", True)
            self.changed = changes(self._plain(), stored)
        elif self.config.ckpt_path:
            refuse(self._plain(), stored)
        self.stored = stored
        for way in WAYS_TO_START:
            if path := self.config[way]:  # resolved now, for ``latest`` will point elsewhere
                self.config[way] = str(checkpoint_in(path).resolve())

    def _typed_in_full(self) -> bool:
        """True if the command line that began the run is typed once more: the checkpoint has nothing to add to it."""
        begins = any(self.given.get(key) for key in ("model", *WAYS_TO_START))
        return bool(self.given.get("run")) and begins

    def _stored(self, given: Config) -> Config:
        """Return the configuration of the checkpoint that the run starts from."""
        if given.get("ckpt_path") and given.get("init_from"):
            raise UserError("--ckpt_path goes on with a run and --init_from begins one: give one of them")
        if path := given.get("ckpt_path"):
            refuse_export(path)
            checkpoint = read(path)
            if self.command == "fit":
                check_resumable(checkpoint, path)
                self.goes_on_with, self.goes_on_at = identity_of(checkpoint), checkpoint["global_step"]
                if self.run and self.goes_on_with and (original := copied_from(checkpoint, self.run.folder)):
                    rank_zero_info(f"a copy of {original}, which keeps its W&B run: this one begins another")
                    self.goes_on_with = None
                self.fingerprints = data_state(checkpoint).get("fingerprints", {})
            config = stored_config(checkpoint)
            if self.command != "fit":
                config = {key: value for key, value in config.items() if key not in LEFT_TO_TRAINING}
            check_names(config, path, self.typed)
            return config if is_own(path) else without_places(config, path)
        if self.command not in ("fit", "prepare", "check"):
            raise UserError(f"{self.command} needs --ckpt_path, a checkpoint to evaluate")
        if path := given.get("init_from"):
            model = stored_config(read(path))["model"]
            check_names(model, path, self.typed)
            return {} if "model" in given else {"model": model}
        return {}

    def _plain(self) -> Config:
        """The whole configuration as YAML has it."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_unset=False, format="yaml"))
        plain = {key: value for key, value in config.items() if key not in ("config", *PLACES)}
        hidden: Config = without_addresses_secrets(with_public_names(plain))
        return hidden

    # Instantiation

    def instantiate_classes(self) -> None:
        try:
            with known_names_alone(self.typed):
                self.config_init = self.parser.instantiate(self._settled())
        except ValueError as error:
            refuse_missing_package(error)
            raise
        self.datamodule: Seq2SeqData = self.config_init.data
        self.model: Seq2SeqModule = self.config_init.model
        self.model.configure(**{name: self.config_init[name] for name in INJECTED})
        if self.command != "fit" and self.config.ckpt_path:
            self.datamodule.take_lengths(data_state(read(self.config.ckpt_path)).get("lengths"))
        if self.command == "fit" and self.config.ckpt_path:
            refuse_other_data(self.datamodule.fingerprints(), self.fingerprints, self._plain(), self.stored)
            say(self.changed)
        if self.config.init_from:
            checkpoint = read(self.config.init_from)
            moved, moves = vocabulary_moves(checkpoint, self.datamodule)
            differences = initialise_from(self.model, checkpoint["state_dict"], moves)
            rank_zero_info("\n".join([f"weights from {self.config.init_from}", *moved, *differences]))
        attach(self.model, self.datamodule, trains=self.command == "fit")
        self.model._log_hyperparams = False  # a part of the configuration, which is logged as a whole
        self.trainer = self.instantiate_trainer()

    def _settled(self) -> Namespace:
        """The configuration with what follows from other parts of it.

        The tokenizers are those of the checkpoint when it is resumed; a seed is that of the order of data, too.
        """
        config: Namespace = self.config.clone()
        data = config.data
        if data.seed is None and config.seed_everything is not False:
            data.seed = config.seed_everything
        if config.ckpt_path:
            data.tokenizers_from, data.tokenizer, data.tgt_tokenizer = config.ckpt_path, None, None
        elif config.init_from and not (data.tokenizer or data.tgt_tokenizer or data.tokenizers_from):
            data.tokenizers_from = config.init_from
        return config

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Build the trainer with the run's own folder, its logger, and the default callbacks beside the user's."""
        if size := torchrun_size():
            config["num_nodes"], processes = size
            config["devices"] = processes if config["devices"] == "auto" else config["devices"]
        refuse_foreign(as_list(config["callbacks"]))
        folder = self._folder(
            Path(config["default_root_dir"]), growing_files([*as_list(config["callbacks"]), *callbacks])
        )
        config["default_root_dir"] = folder
        config["logger"] = loggers(config["logger"], folder, self.command, self.goes_on_with)
        config["callbacks"] = [Monitors(), *as_list(config["callbacks"]), *self._default_callbacks(config, callbacks)]
        try:
            trainer = Trainer(**config)
        except (MisconfigurationException, ValueError, TypeError, ModuleNotFoundError) as error:
            raise UserError(f"trainer: {error}") from error
        if str(config["precision"]) in ("16", "16-mixed") and trainer.precision == "bf16-mixed":
            rank_zero_info("trainer.precision=16-mixed: a CPU does not train in float16, so it is bf16-mixed here")
        return trainer

    def _folder(self, root: Path, growing: list[str]) -> Path:
        """Return the run's folder, made if need be, without what an interrupted start left in its growing files."""
        if self.run is None:
            folder = new_run_folder(root / (self.name or type(self.model).__name__.lower()), self.command)
            if self.command == "fit":
                hold(folder, 0.0)
            return folder
        tidy(self.run, growing)
        return enter(self.run.folder)

    def _default_callbacks(self, config: dict[str, Any], callbacks: list[Callback]) -> list[Callback]:
        """Return the callbacks of the command line, without those that the user has switched off or brought."""
        kept = beside(as_list(config["callbacks"]), callbacks, progress=config["enable_progress_bar"] is not False)
        checkpoints: BestAndLast = self.config_init.checkpoint
        saves = config["enable_checkpointing"] is not False
        self.stopping = StopWhenAsked(checkpoints if saves else None)
        if saves:
            kept.append(checkpoints)
        if (patience := self.config.patience) is not None:
            kept.append(Patience(checkpoints, patience))
        if self.command == "fit" and self.config.ckpt_path:
            kept.append(NewSettings(touched(self.changed, "optimizer.")))
        if self.config.compile:
            kept.append(Compile())
        if in_sweep():
            kept.append(WandbTrial())
        plain = self._plain()
        if self.run and self.run.checkpoint:
            plain["ckpt_path"] = None  # its own, of no use to who repeats the run
        about = [Configuration(plain, self.goes_on_at), Record(plain)]
        return [RollCall(), Draws(), ValidateAtEnd(), *kept, SkippedSteps(), *of_environment(), *about, self.stopping]

    # Running

    def start(self) -> None:
        """Fit, validate, test or predict. A signal ends it with exit code 128 + its number and the way to go on."""
        watch_children()
        if started_by_rank_0():
            end_with_parent(LEAVE)
        stay_on_this_machine()
        try:
            with explained(Path(self.trainer.default_root_dir)):
                if self.command == "fit":
                    self._fit()
                else:
                    self._do(self.command, self.config.ckpt_path)
        except SystemExit:
            if self.trainer.state.status != "interrupted":
                raise
            self._say_how_to_go_on()
            sys.exit(self.stopping.leave(self.trainer))
        if self.command != "fit":  # whose last words are those of its callback
            rank_zero_info(f"run folder  {self.trainer.default_root_dir}")

    def _fit(self) -> None:
        """Train, and test if asked to; the run's folder then says that it is finished."""
        folder = Path(self.trainer.default_root_dir)
        if self.trainer.is_global_zero:
            forget_end(folder)
        self._do("fit", self.config.ckpt_path)
        step, checkpoints = self.trainer.global_step, self.config_init.checkpoint
        if self.config.test_best and self.datamodule.has("test"):
            self._do("test", checkpoints.best_model_path or checkpoints.last_model_path or None)
        if self.trainer.is_global_zero:
            mark_end(folder, step)

    def _do(self, command: str, ckpt_path: str | None) -> None:
        run = getattr(self.trainer, command)
        run(self.model, datamodule=self.datamodule, ckpt_path=ckpt_path, weights_only=True)

    def _say_how_to_go_on(self) -> None:
        saved = self.config_init.checkpoint.last_model_path or (self.run and self.run.checkpoint)
        folder = self.trainer.default_root_dir
        how = f"go on with: {PROGRAM} fit --resume {folder}" if saved else "nothing was saved"
        name = signal.Signals(self.stopping.number or signal.SIGINT).name
        rank_zero_info(f"stopped by {name} at step {self.trainer.global_step}; {how}")


class _Options(CLI):
    """Builds the parser of a command and parses nothing."""

    needs_model = False

    def __init__(self, command: str) -> None:
        self.command = command
        LightningCLI.__init__(
            self,
            Seq2SeqModule,
            Seq2SeqData,
            subclass_mode_model=True,
            parser_class=ArgumentParser,
            args=[],
            run=False,
            auto_configure_optimizers=False,
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = Namespace(seed_everything=False)  # type: ignore[no-untyped-call]

    def instantiate_classes(self) -> None:
        """Build nothing."""


def option_parser(command: str) -> LightningArgumentParser:
    """Return the parser of one of Lightning's commands, for those that list its options."""
    return _Options(command).parser


def run(command: str, args: Sequence[str]) -> None:
    """One of Lightning's commands."""
    try:
        with failure_reported():
            cli = CLI(command, args)
        cli.start()
    finally:
        release()


def typed_names(args: Sequence[str]) -> set[str]:
    """Return the names of classes that the user typed, or wrote into a file that an option names.

    The file of a W&B sweep's trial, which a server has filled, gives values alone.
    """
    served = [path for path in config_files(args) if path.suffix == ".json" and in_sweep()]
    files = [path for path in config_files(args) if path not in served]
    return mentioned([*args, *(path.read_text(encoding="utf-8", errors="replace") for path in files)])


def usage(command: str) -> str:
    plain = f"{PROGRAM} {command} [--config FILE]... [--GROUP CLASS] [--GROUP.OPTION VALUE]..."
    return f"{plain}\n       the same from several seeds: add --seeds N..., and --help" if command == "fit" else plain


def refuse_export(path: str) -> None:
    if not Path(path).is_dir():
        return
    if (Path(path) / "checkpoints").is_dir():
        raise UserError(
            f"--ckpt_path {path} is the folder of a run: go on in it with fit --resume {path}, or in a new one with "
            f"--ckpt_path {path}/checkpoints/last.ckpt"
        )
    raise UserError(
        f"--ckpt_path {path} is a folder, and must be a checkpoint; of an exported model there are "
        f"fit --init_from {path} and generate {path}"
    )


def refuse_vocabulary_sizes(arguments: Namespace) -> None:
    for name in VOCABULARY_SIZES:
        if (size := arguments.get(name)) is not None:
            raise UserError(f"--model.{name}={size}: leave it out, for the tokenizers know it")


def refuse_foreign(callbacks: Sequence[Callback]) -> None:
    """Raise UserError for callbacks of Lightning's that cannot do their work here, with what does."""
    for theirs, ours in ((LearningRateFinder, "FindLearningRate"), (BatchSizeFinder, "FindBatchSize")):
        if any(isinstance(callback, theirs) for callback in callbacks):
            raise UserError(
                f"trainer.callbacks: {theirs.__name__} sets what no part of this package reads; take {ours} "
                "(docs/experiments/finding.md)"
            )
    if any(isinstance(each, StochasticWeightAveraging) and each._device is not None for each in callbacks):
        raise UserError(
            "trainer.callbacks: the default device of StochasticWeightAveraging cannot be written into config.yaml, so "
            "that the run could not be resumed; add --trainer.callbacks.device=null, or take EMA"
        )


def run_name(configs: Sequence[Path], ckpt_path: str | None) -> str | None:
    """The first configuration file's name, or that of the run which a config.yaml or a checkpoint comes from."""
    for path in configs:
        return folder_name(path.absolute().parent) if path.name == "config.yaml" else path.stem
    checkpoints = Path(ckpt_path or ".").absolute().parent
    return folder_name(checkpoints.parent) if checkpoints.name == "checkpoints" else None


def folder_name(run: Path) -> str:
    """The name of a run by its folder: that of its family of runs where the folder is a time, else its own."""
    return run.parent.name if is_time(run.name) or run.name == "latest" else run.name
