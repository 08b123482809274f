"""The full-size recipes of configs/papers, which nobody here can run: they parse, have the paper's size, and train."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks.reduced import reduced
from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.cli.fit import CLI
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.objectives import Objective
from s2s_lightning.testing import TGT_VOCAB, batch_of, random_pairs
from s2s_lightning.training.module import OptimizerCallable, Seq2SeqModule
from s2s_lightning.training.schedules import Schedule
from tests.helpers.toy import toy_trainer

PAPERS = sorted(Path("configs/papers").glob("*.yaml"))

PARAMETERS = {
    "sutskever2014_wmt14_enfr": 384e6,
    "transformer_base_wmt14_ende": 65e6,
    "transformer_big_wmt14_ende": 213e6,
    "pointer_generator_cnndm": 21.5e6 + 50_000 * 128,  # the second embedding
}
"""What the papers say that they have, as far as they do."""


class Parsed(CLI):
    """The command line up to where it would open the data and build the network."""

    def instantiate_classes(self) -> None:
        """Nothing is made."""


@cache
def recipe(path: Path) -> dict[str, Any]:
    """The whole configuration, with the command line's defaults."""
    return Parsed("fit", [f"--config={path}"])._plain()


def module_of(spec: dict[str, Any], vocabularies: dict[str, int | None]) -> Seq2SeqModule:
    made: Seq2SeqModule = instantiate({**spec, "init_args": {**spec["init_args"], **vocabularies}}, Seq2SeqModule)
    return made


def vocabularies(data: dict[str, Any]) -> dict[str, int | None]:
    """As large as the tokenizers may become; a target without a tokenizer shares the source's."""
    src, tgt = data["tokenizer"], data["tgt_tokenizer"]
    size = None if tgt is None else tgt["init_args"]["vocab_size"]
    return {"src_vocab_size": src["init_args"]["vocab_size"], "tgt_vocab_size": size}


@pytest.fixture(params=PAPERS, ids=lambda path: path.stem)
def paper(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_a_recipe_says_that_nobody_has_run_it_and_stays_short(paper: Path) -> None:
    lines = paper.read_text().splitlines()
    assert len(lines) <= 45
    header = "\n".join(line for line in lines if line.startswith("#"))
    assert all(word in header for word in ("# Published", "WE HAVE NOT RUN IT", "# Different here:"))


def test_a_recipe_parses_and_makes_its_data_module_without_its_files(paper: Path) -> None:
    spec = {"class_path": "s2s_lightning.data.Seq2SeqData", "init_args": recipe(paper)["data"]}
    assert instantiate(spec, Seq2SeqData).has("test")


def test_a_recipe_has_the_size_of_its_paper(paper: Path) -> None:
    plain = recipe(paper)
    with torch.device("meta"):
        module = module_of(plain["model"], vocabularies(plain["data"]))
    count = sum(parameter.numel() for parameter in module.parameters())
    assert count == pytest.approx(PARAMETERS.get(paper.stem, count), rel=0.04)


def test_a_recipe_trains_at_a_small_width(paper: Path, tmp_path: Path) -> None:
    plain = recipe(paper)
    joint = plain["data"]["tgt_tokenizer"] is None
    sizes = {"src_vocab_size": 17, "tgt_vocab_size": None if joint else TGT_VOCAB}
    torch.manual_seed(0)
    module = module_of(reduced(plain["model"], 32), sizes)
    module.objective = instantiate(plain["objective"], Objective)
    module.optimizer = instantiate(plain["optimizer"], OptimizerCallable)  # type: ignore[arg-type]
    module.schedule = instantiate(plain["schedule"], Schedule)
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    batch = batch_of(random_pairs(4))
    clip = plain["trainer"]["gradient_clip_val"]
    trainer = toy_trainer(tmp_path, max_steps=1, limit_val_batches=0, gradient_clip_val=clip)
    trainer.fit(module, DataLoader([batch, batch], batch_size=None))  # of which one is enough: no epoch ends
    assert torch.isfinite(module.objective(module.model, batch).sum)
    assert [name for name, parameter in module.named_parameters() if torch.equal(parameter, before[name])] == []
