"""Frozen parameters stay bit-equal; a pattern that matches nothing is refused by name."""

from pathlib import Path

import pytest
import torch

from s2s_lightning.callbacks import Freeze, Summary
from s2s_lightning.errors import UserError
from tests.helpers.toy import ToyData, ToyModule, toy_trainer


def fit(folder: Path, *patterns: str) -> ToyModule:
    module = ToyModule()
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=1.0, weight_decay=0.1)
    toy_trainer(folder, callbacks=[Freeze(list(patterns)), Summary()]).fit(module, datamodule=ToyData())
    return module


def test_what_a_pattern_names_does_not_change_and_all_else_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ToyModule().model.state_dict()
    after = fit(tmp_path, "*embedding*", "decoder.mix.b?as").model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {"src_embedding.weight", "tgt_embedding.weight", "readout.weight", "decoder.mix.bias"}
    assert changed == before.keys() - frozen
    assert "frozen parameters" in capsys.readouterr().out


def test_a_pattern_without_a_parameter_is_refused_and_the_right_name_suggested(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"encoder\.nrom\.weight.*did you mean encoder\.norm\.weight"):
        fit(tmp_path, "encoder.nrom.weight")


def test_freezing_everything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="whole network"):
        fit(tmp_path, "*")
