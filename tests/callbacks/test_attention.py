"""Attention maps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from s2s_lightning import EOS
from s2s_lightning.callbacks import Attention
from s2s_lightning.callbacks.attention import Alignment, force_decode
from s2s_lightning.callbacks.drawing import PAGE, Panel, layout, save
from tests.toy import ToyData, ToyModule, encode, toy_batch, toy_network, toy_trainer


def colours(path: Path) -> np.ndarray:
    return np.unique(np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3), axis=0)


def panel(source: int, target: int, label: str = "token") -> Panel:
    weights = np.random.default_rng(0).dirichlet(np.ones(source), target)
    return Panel("validation 0", [label] * source, [label] * target, weights)


def test_weights_are_those_of_force_decoding_the_hypothesis() -> None:
    model = toy_network()
    (weights,) = model.teacher_force(toy_batch([("abc", "hgfe")]), need_weights=True).attention
    row = Alignment(0, [*encode("abc"), EOS], encode("hgfe"), finished=True)
    assert torch.equal(force_decode(model, row, torch.device("cpu")), weights.float())


def test_a_hypothesis_that_was_cut_has_no_row_for_its_end() -> None:
    row = Alignment(0, [*encode("abc"), EOS], encode("hgfe"), finished=False)
    assert force_decode(toy_network(), row, torch.device("cpu")).shape == (1, 2, 4, 4)


def test_layer_and_head_are_chosen_or_averaged() -> None:
    weights = torch.rand(3, 2, 5, 4)
    assert torch.equal(Attention(layer=-1, head=1).reduce(weights), weights[-1, 1])
    assert torch.allclose(Attention().reduce(weights), weights.mean((0, 1)))


def test_the_picture_of_a_run_is_not_blank_and_each_step_is_kept(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[Attention(num_items=3)], max_epochs=2)
    trainer.fit(ToyModule(), datamodule=ToyData())
    assert len(colours(tmp_path / "attention.png")) > 50
    assert sorted(path.name for path in (tmp_path / "attention").iterdir()) == [
        "step_00000010.png",
        "step_00000020.png",
    ]


def test_a_family_without_attention_is_said_so_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[Attention()], max_epochs=2)
    trainer.fit(ToyModule(attends=False), datamodule=ToyData())
    assert capsys.readouterr().out.count("has no attention") == 1
    assert not (tmp_path / "attention.png").exists()


def test_boxes_never_overlap_and_stay_on_the_page() -> None:
    panels = [panel(*size) for size in [(8, 6), (3, 9), (60, 40), (12, 2), (5, 5), (9, 9), (120, 3)]]
    boxes, width, height = layout(panels)
    for number, box in enumerate(boxes):
        assert box.left > 0
        assert box.left + box.width < width
        assert box.top + box.height < height
        for other in boxes[:number]:
            apart = other.left + other.width < box.left or other.top + other.height < box.top
            assert apart or box.left + box.width < other.left


def test_a_long_sentence_makes_a_wider_page_with_cells_of_the_same_size(tmp_path: Path) -> None:
    save([panel(150, 20)], tmp_path / "long.png")
    save([panel(10, 20)], tmp_path / "short.png")
    long, short = (Image.open(tmp_path / name).size for name in ("long.png", "short.png"))
    assert long[0] - short[0] > PAGE * 100
    assert long[1] == short[1]


def test_tokens_that_look_like_formulas_are_drawn_as_they_are(tmp_path: Path) -> None:
    save([panel(3, 3, label=r"$\frac{")], tmp_path / "formula.png")
    assert len(colours(tmp_path / "formula.png")) > 10
