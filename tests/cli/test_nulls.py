"""What YAML reads as null, a boolean, a number or a date where an option wants something else."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pytest
import yaml

from s2s_lightning.config.nulls import refuse_nulls
from s2s_lightning.data import BPE, Generated, Pretokenized, Seq2SeqData, Word
from s2s_lightning.errors import UserError
from s2s_lightning.families import GRU
from tests.cli.conftest import command


@pytest.fixture
def prepared(tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[int, str]]:
    """Run ``prepare`` with a few settings in YAML; returns the exit code and the error."""
    monkeypatch.setenv("S2S_LIGHTNING_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.csv").write_text("no,1.5\na,b\nc,d\n")

    def run(settings: str) -> tuple[int, str]:
        (tmp_path / "d.yaml").write_text(settings.replace("a.csv", f"{tmp_path}/a.csv"))
        result = command("prepare", "--config", config, "--config", tmp_path / "d.yaml")
        return result.code, result.err

    return run


TABLE = "data: {corpus: {class_path: Table, init_args: {train: a.csv, src: '1.5', tgt: %s}}, tokenizer: Characters}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("data: {max_tokens: null}", "max_tokens=null needs batch_size"),
        ("data: {num_workers: null}", "Seq2SeqData: num_workers=null: it must be int; leave it out for 0"),
        ("data: {copy: null}", "Seq2SeqData: copy=null: it must be bool; leave it out for False"),
        ("data: {tokenizer: {class_path: Word, init_args: {min_frequency: null}}}", "Word: min_frequency=null"),
        ("data: {tokenizer: {class_path: BPE, init_args: {vocab_size: null}}}", "BPE: vocab_size=null"),
        ("data: {tokenizer: {class_path: BPE, init_args: {vocab_size: 3}}}", "vocab_size=3: it must be from 260"),
        ("data: {corpus: {class_path: Table, init_args: {hold_out: null}}}", "Table: hold_out=null"),
        (TABLE % "no", "tgt=False: expected int or str; YAML reads a bare yes, no, on or off as a boolean: put a text"),
        (TABLE % "1.5", "tgt=1.5: expected int or str; YAML reads a bare number or date as one: put a text in quotes"),
        ("data: {cache_dir: off}", "cache_dir=False: expected str or null; YAML reads a bare yes, no"),
    ],
)
def test_a_value_that_yaml_reads_otherwise_is_refused_before_anything_is_trained(
    prepared: Callable[[str], tuple[int, str]], settings: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tokenizer in (BPE, Word, Pretokenized):
        monkeypatch.setattr(tokenizer, "train", None)
    code, error = prepared(settings)
    assert code == 2
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "settings", [TABLE % "'no'", "data: {max_tokens: null, batch_size: 4}", "data: {batch_size: null}"]
)
def test_a_quoted_name_and_a_null_where_one_may_stand_work(
    prepared: Callable[[str], tuple[int, str]], settings: str
) -> None:
    assert prepared(settings)[0] == 0


def test_an_explicit_budget_of_evaluation_counts_beside_a_batch_size() -> None:
    data = Seq2SeqData(Generated(), max_tokens=None, batch_size=4, eval_max_tokens=100)
    assert (data.budget.batch_size, data.eval_budget.batch_size, data.eval_budget.max_tokens) == (4, None, 100)


T = TypeVar("T")


class Base:
    def __init__(self, deep: int = 3) -> None: ...


class Own(Base):
    def __init__(self, a: int, b: int = 1, c: int | None = 2, d: Any = 3, e=4, f: Annotated[int, "x"] = 5, **rest: Any):  # type: ignore[no-untyped-def]
        super().__init__(**rest)


def test_nulls_are_refused_by_the_type_of_the_class_that_has_the_argument() -> None:
    refuse_nulls(Own, dict.fromkeys(["a", "c", "d", "e", "unknown"]))
    for name, default in (("b", 1), ("f", 5), ("deep", 3)):
        with pytest.raises(UserError, match=f"Own: {name}=null: .* leave it out for {default}"):
            refuse_nulls(Own, {name: None})
    with pytest.raises(UserError, match="GRU: d_model=null: it must be int"):
        refuse_nulls(GRU, {"d_model": None, "tgt_vocab_size": None})


def test_the_table_of_this_test_is_what_it_says() -> None:
    assert yaml.safe_load("{a: no, b: 1.5, c: off}") == {"a": False, "b": 1.5, "c": False}
