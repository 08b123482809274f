"""Law 21: what is wrong is named in one line, with the right one."""

import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from s2s_lightning.config.parser import constructed
from s2s_lightning.data import Corpus
from s2s_lightning.errors import UserError
from tests.cli.conftest import Run, command

HYBRID = "--model Hybrid --model.encoder s2s_lightning.families.transformer.Transformer"

ON_THE_COMMAND_LINE = {
    # keys
    "--data.max_token 3": "--data.max_token is not an option: did you mean --data.max_tokens?",
    "--data.max_token=3": "--data.max_token is not an option: did you mean --data.max_tokens?",
    "--trainr.max_steps 3": "--trainr.max_steps is not an option: did you mean --trainer.max_steps?",
    "--lr 3": "--lr is not an option: did you mean --optimizer.lr?",
    "--d_model 3": "--d_model is not an option: did you mean --model.d_model?",
    "--model.d_modle 3": "--model.d_modle is not an option of Transformer: did you mean --model.d_model?",
    "--optimizer.lrr 3": "--optimizer.lrr is not an option of AdamW: did you mean --optimizer.lr?",
    "--schedule InverseSqrt --schedule.warmup 5": "option of InverseSqrt: did you mean --schedule.warmup_steps?",
    "--decoding.beam_size 5": "not an option of Greedy, but of Beam",
    "--data.tokenizer.vocab_size 5": "--data.tokenizer must name a class before its options; choose one of BPE",
    "--data.tokenizer {class_path:\\ BPE,init_args:\\ {vocab_siz:\\ 3}}": "did you mean --data.tokenizer.vocab_size?",
    "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitr x": "did you mean --trainer.callbacks.monitor?",
    "--checkpoint.monitr val/bleu": "--checkpoint.monitr is not an option: did you mean --checkpoint.monitor?",
    # classes
    "--model Transfomer": "--model=Transfomer names no class: did you mean Transformer?",
    "--model s2s_lightning.families.Transfomer": "names no class: did you mean Transformer?",
    "--model s2s_lightning.familes.Transformer": "names no class: did you mean Transformer?",
    "--model BPE": "--model=BPE names no class; choose one of B",
    "--model s2s_lightning.data.BPE": "--model=s2s_lightning.data.BPE is no Seq2SeqModule; choose one of B",
    "--optimizer AdmaW": "--optimizer=AdmaW names no class: did you mean AdamW?",
    "--decoding Beem": "--decoding=Beem names no class: did you mean Beam?",
    "--data.tokenizer BPEE": "--data.tokenizer=BPEE names no class: did you mean BPE?",
    "--data.corpus Tabel": "--data.corpus=Tabel names no class: did you mean Table?",
    "--trainer.callbacks+=EarlyStoping": "--trainer.callbacks=EarlyStoping names no class: did you mean EarlyStopping?",
    # parts by class path
    "--model Hybrid": "Hybrid needs --model.encoder and --model.decoder",
    "HYBRIDEncoder": "Hybrid needs --model.decoder",
    "HYBRIDEncodr": "names no class: did you mean TransformerEncoder?",
    "HYBRIDDecoder": "TransformerDecoder is no Encoder; choose one of",
    "HYBRIDEncoder --model.encoder.num_layer 1": "did you mean --model.encoder.num_layers?",
    "HYBRIDEncoder --model.encoder.layers.num_hed 1": "did you mean --model.encoder.layers.num_heads?",
    # types and values
    "--data.max_tokens many": "--data.max_tokens=many: expected int",
    "--model.d_model 1.5": "--model.d_model=1.5: expected int",
    "--model.norm pst": "--model.norm=pst: expected pre or post: did you mean post?",
    "--optimizer.lr fast": "--optimizer.lr=fast: expected float",
    "--patience soon": "--patience=soon: expected int or null",
    "--checkpoint.mode up": "--checkpoint.mode=up: expected min or max or null",
    "--data.max_tokens 0": "max_tokens=0: it must be 1 or more",
    "--model.num_heads 3": "d_model=16 is no multiple",
    "--model.src_vocab_size 9": "--model.src_vocab_size=9: leave it out",
    "--trainer.accelerator gpuu": "trainer: You selected an invalid accelerator name: `accelerator='gpuu'`",
    "--optimizer.lr=-1": "AdamW: Invalid learning rate: -1",
    "--model.dropout 1.5": "a dropout of 1.5 is no probability: it must be from 0 to 1",
    "--model.num_heads 0": "num_heads=0: it must be 1 or more",
    "--model.num_decoder_layers 0": "num_decoder_layers=0: it must be 1 or more",
    "--model Luong --model.num_layers 0": "num_layers=0: it must be 1 or more",
    "--model ConvS2S --model.num_decoder_layers 0": "num_decoder_layers=0: it must be 1 or more",
    "--model LightConv --model.decoder_kernel_sizes []": "decoder_kernel_sizes=[]: it must name a size of 1 or more",
    "--model UniversalTransformer --model.num_encoder_steps 0": "num_encoder_steps=0: it must be 1 or more",
    "--drop_tokens.src_word 1.5": "src_word=1.5: it must be 0 or more and below 1",
    "--objective TeacherForcingRatio --objective.ratio 2": "ratio=2.0: it must be from 0 to 1",
    "--objective.label_smoothing 2": "label_smoothing=2.0: it must be 0 or more and below 1",
    "--schedule.warmup_steps -5": "warmup_steps=-5: it must be 0 or more",
    "--schedule torch.optim.lr_scheduler.StepLR": "StepLR is no Schedule; choose one of Constant",
    "--data.num_workers -1": "num_workers=-1: it must be 0 or more",
    "--data.corpus.symbols 0": "symbols=0: it must be 1 or more",
    "--evaluation.tokenize zhh": "--evaluation.tokenize=zhh: expected 13a or intl or char or zh or",
    "--attention.layer 5": "--attention.layer=5: the decoder has 1, counted from 0",
    "--attention.head -3": "--attention.head=-3: the decoder has 2, counted from 0",
    "--trainer.val_check_interval 100": "trainer: `val_check_interval` (100) must be less than or equal to the number",
    "--trainer.precision 17": "--trainer.precision=17: expected 64 or 32 or 16",
    "--patience -1": "patience=-1: it must be 0 or more",
    "--checkpoint.monitor val/blue --trainer.max_steps 1": "val/blue is not logged: did you mean val/bleu?",
    # files and form
    "--config missing.yaml": "there is no configuration file missing.yaml",
    "--config": "-c/--config: expected one argument",
    "--ckpt_path missing.ckpt": "there is no checkpoint missing.ckpt",
    "--init_from missing.ckpt": "there is no checkpoint missing.ckpt",
    "--ckpt_path a --init_from b": "--ckpt_path goes on with a run and --init_from begins one",
    "extra": "'extra' stands alone, but options begin with --",
    "configs/lstm.yaml": "did you mean --config configs/lstm.yaml?",
}

IN_A_FILE = {
    "data: {max_token: 3}": "--data.max_token is not an option: did you mean --data.max_tokens?",
    "optimiser: {class_path: SGD}": "--optimiser is not an option: did you mean --optimizer?",
    "model: {class_path: Transformer, init_args: {d_modle: 3}}": "did you mean --model.d_model?",
    "model: {class_path: Transformer, init_args: {d_model: [3]}}": "--model.d_model=[3]: expected int",
    "model: {class_path: Transformer, init_arg: {d_model: 3}}": "did you mean init_args?",
    "model: {class_pth: Transformer}": "did you mean class_path?",
    "model: {class_path: Transfomer}": "--model=Transfomer names no class: did you mean Transformer?",
    "data: {tokenizer: {class_path: BPF}}": "--data.tokenizer=BPF names no class: did you mean BPE?",
    "data: {corpus: {class_path: Generated, init_args: {task: copi}}}": "did you mean copy?",
    "optimizer: {class_path: Adam, init_args: {beta: [0.9]}}": "did you mean --optimizer.betas?",
    "trainer: {max_step: 3}": "--trainer.max_step is not an option: did you mean --trainer.max_steps?",
    "trainer: {callbacks: {class_path: Timr}}": "--trainer.callbacks=Timr names no class: did you mean Timer?",
    "trainer: {callbacks: [{class_path: EarlyStopping}]}": "EarlyStopping needs --trainer.callbacks.monitor",
    "data: 5": "data must map options to values, but is 5",
    "model: {class_path: [": "is not valid YAML",
    "only text": "must map keys to values",
}


def refused(*args: object) -> str:
    """The one line on stderr of a command that ends with 2."""
    result = command(*args)
    assert result.code == 2, result
    (line,) = [line for line in result.err.splitlines() if not line.startswith("GPU available")]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(("arguments", "said"), ON_THE_COMMAND_LINE.items(), ids=ON_THE_COMMAND_LINE)
def test_a_wrong_option_is_one_line_with_the_right_one(config: Path, tmp_path: Path, arguments: str, said: str) -> None:
    arguments = arguments.replace("HYBRID", HYBRID)
    words = [word.replace("\\ ", " ").replace("\0", " ") for word in arguments.replace("\\ ", "\0").split()]
    assert said in refused("fit", "--config", config, "--trainer.default_root_dir", tmp_path, *words)


@pytest.mark.parametrize(("text", "said"), IN_A_FILE.items(), ids=IN_A_FILE)
def test_a_wrong_key_in_a_file_is_one_line_with_the_right_one(
    config: Path, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "overlay.yaml").write_text(text)
    assert said in refused("fit", "--config", config, "--config", tmp_path / "overlay.yaml")


def test_a_misspelt_file_finds_its_neighbour(config: Path) -> None:
    assert f"did you mean {config}?" in refused("fit", "--config", config.with_name("tinny.yaml"))


def test_fit_without_a_model_says_how_to_give_one() -> None:
    assert "add --config configs/<name>.yaml or --model <class>" in refused("fit")


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_evaluation_needs_a_checkpoint(name: str, config: Path) -> None:
    assert f"{name} needs --ckpt_path" in refused(name, "--config", config)


GENERATE = {
    "missing.ckpt": "there is no checkpoint missing.ckpt",
    "LAST missing.txt": "missing.txt",
    "LAST CONFIG one_more": "'one_more' is one too many",
    "LAST CONFIG --devise cpu": "--devise is not an option of generate: did you mean --device?",
    "LAST CONFIG --device cdua": "--device=cdua is not to be had",
    "LAST CONFIG --decoding Beam --decoding.beamsize 3": "did you mean --decoding.beam_size?",
    "LAST CONFIG -o /missing/folder/x": "/missing/folder/x cannot be written",
    "CONFIG": "is no checkpoint",
}


@pytest.mark.parametrize(("arguments", "said"), GENERATE.items(), ids=GENERATE)
def test_generate_refuses_in_one_line(trained: Run, config: Path, arguments: str, said: str) -> None:
    words = [{"LAST": trained.last, "CONFIG": config}.get(word, word) for word in arguments.split()]
    assert said in refused("generate", *words)


def test_a_misspelt_command_finds_the_right_one() -> None:
    assert "there is no command 'fti': did you mean fit?" in refused("fti")


def test_a_parquet_column_that_is_not_there_is_named(config: Path, tmp_path: Path) -> None:
    table = tmp_path / "pairs.parquet"
    parquet.write_table(pyarrow.table({"src": ["a"], "tgt": ["b"]}), table)
    corpus = ["--data.corpus", "Table", "--data.corpus.train", table, "--data.corpus.tgt", 7]
    assert "2 columns, but column 7 is asked for (from 0)" in refused("prepare", "--config", config, *corpus)


class Typo:
    """Its constructor has an error of its own."""

    def __init__(self, size: int = 0) -> None:
        len(size)  # type: ignore[arg-type]


def test_a_constructor_of_ones_own_that_fails_is_one_line() -> None:
    with pytest.raises(UserError, match="BatchNorm: wrong"):
        constructed(type("BatchNorm", (), {"__init__": raises(ValueError("wrong"))}))
    with pytest.raises(UserError, match=r"Typo: .*unexpected keyword argument 'siz'"):
        constructed(Typo, siz=3)
    with pytest.raises(UserError, match=r"Typo: TypeError: .*has no len.* \(.*test_errors\.py, line \d+\)"):
        constructed(Typo)


def raises(error: Exception) -> Callable[[object], None]:
    def fail(self: object) -> None:
        raise error

    return fail


class Broken(Corpus):
    """A corpus with an error of its own."""

    def has(self, split: str) -> bool:
        raise ZeroDivisionError

    def read(self, split: str) -> None:
        raise ZeroDivisionError


def test_an_unforeseen_error_keeps_its_traceback(config: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        command("prepare", "--config", config, "--data.corpus", f"{__name__}.Broken")
    assert "s2s_lightning.cli.fit" in sys.modules
