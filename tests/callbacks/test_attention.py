"""Attention maps: pictures, weights for programs, strips, curves."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from s2s_lightning import EOS
from s2s_lightning.callbacks import Attention
from s2s_lightning.callbacks.attention.attention_maps import Item, Labels, force_decode, maps_of
from s2s_lightning.callbacks.attention.attention_strip import strip, thinned
from s2s_lightning.callbacks.reports import media
from s2s_lightning.errors import UserError
from tests.helpers.toy import ToyData, ToyModule, encode, toy_batch, toy_network, toy_trainer

CPU = torch.device("cpu")


def colours(path: Path) -> np.ndarray:
    return np.unique(np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3), axis=0)


def fitted(folder: Path, callback: Attention, **options: object) -> ToyModule:
    module = ToyModule()
    resumed = options.pop("ckpt_path", None)
    trainer = toy_trainer(folder, callbacks=[callback], **options)
    trainer.fit(module, datamodule=ToyData(), ckpt_path=resumed)
    trainer.save_checkpoint(folder / "end.ckpt")
    return module


def test_weights_are_those_of_force_decoding_the_hypothesis() -> None:
    model = toy_network()
    (weights,) = model.teacher_force(toy_batch([("abc", "hgfe")]), need_weights=True).attention
    found = force_decode(model, [*encode("abc"), EOS], encode("hgfe"), True, device=CPU)
    assert torch.equal(found.weights, weights.float())


def test_a_hypothesis_that_was_cut_has_no_row_for_its_end() -> None:
    found = force_decode(toy_network(), [*encode("abc"), EOS], encode("hgfe"), False, device=CPU)
    assert found.weights.shape == (1, 2, 4, 4)


def test_the_first_rows_of_a_long_target_are_those_of_the_whole() -> None:
    src, tgt = [*encode("abcdef"), EOS], encode("hgfedcba")
    whole, cut = (force_decode(toy_network(), src, tgt, True, device=CPU, max_length=m) for m in (None, 3))
    assert torch.equal(cut.weights, whole.weights[:, :, :3])
    assert cut.length == whole.length == 9


def test_a_run_leaves_pictures_weights_and_curves(tmp_path: Path) -> None:
    fitted(tmp_path, Attention(num_items=3), max_epochs=2)
    for name in ("attention", "attention_reference", "attention_strip"):
        assert len(colours(tmp_path / f"{name}.png")) > 50
    names = {f"step_000000{step}{end}" for step in (10, 20) for end in (".png", "_reference.png", ".npz")}
    assert {path.name for path in (tmp_path / "attention").iterdir()} == names
    rows = list(csv.DictReader((tmp_path / "attention.csv").open()))
    assert [(row["step"], row["layer"], row["head"]) for row in rows] == [
        (s, "0", h) for s in ("10", "20") for h in "01"
    ]


def test_the_weights_file_has_what_the_network_attends_to(tmp_path: Path) -> None:
    module = fitted(tmp_path, Attention(items=[4, 1]))
    words = ToyData().words
    with np.load(tmp_path / "attention.npz") as file:
        assert file["items"].tolist() == [1, 4]
        assert file["step"] == 10
        for index in (1, 4):
            ids = encode(words[index])
            right = force_decode(module.model, [*ids, EOS], ids, True, device=CPU).weights
            assert np.array_equal(file[f"{index}/reference/attention"], right.half().numpy())
            assert file[f"{index}/reference/tokens"].tolist() == [*words[index], "</s>"]
            assert file[f"{index}/source"].tolist() == [*words[index], "</s>"]
            said = file[f"{index}/hypothesis/attention"]
            assert said.shape[2:] == (len(file[f"{index}/hypothesis/tokens"]), len(ids) + 1)


def test_the_drawn_map_is_of_the_layer_and_head_asked_for() -> None:
    weights = torch.rand(3, 2, 5, 4)
    assert torch.equal(Attention(layer=-1, head=1)._cut(weights), weights[-1, 1].half())
    assert torch.allclose(Attention()._cut(weights), weights.mean((0, 1)).half())


def test_only_the_last_validations_are_kept(tmp_path: Path) -> None:
    fitted(tmp_path, Attention(num_items=1, keep=2), max_epochs=4)
    assert {path.name[:13] for path in (tmp_path / "attention").iterdir()} == {"step_00000030", "step_00000040"}


def test_an_item_that_is_not_there_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted(tmp_path, Attention(items=[0, 99]), max_epochs=2)
    assert capsys.readouterr().out.count("no sentence 99") == 1


@pytest.mark.parametrize("options", [{}, {"layer": 7}])
def test_a_family_without_attention_is_said_so_once(
    tmp_path: Path, options: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[Attention(**options)], max_epochs=2)
    trainer.fit(ToyModule(attends=False), datamodule=ToyData())
    assert capsys.readouterr().out.count("has no attention") == 1
    assert not list(tmp_path.glob("attention*"))


@pytest.mark.parametrize("options", [{"layer": 1}, {"head": -3}])
def test_a_layer_or_head_that_is_not_there_is_refused_before_training(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"--attention.{next(iter(options))}="):
        fitted(tmp_path, Attention(**options))


def test_no_attention_is_asked_for_in_training_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ToyModule()
    asked: list[tuple[bool, bool]] = []
    forward = module.model.decoder.forward

    def watched(y: torch.Tensor, state: object, need_weights: bool = False) -> object:
        asked.append((module.model.training, need_weights))
        return forward(y, state, need_weights)

    monkeypatch.setattr(module.model.decoder, "forward", watched)
    toy_trainer(tmp_path, callbacks=[Attention(num_items=2)]).fit(module, datamodule=ToyData())
    assert (True, True) not in asked
    assert asked.count((False, True)) == 4  # hypothesis and reference of two sentences


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    with_it = fitted(tmp_path, Attention(num_items=3, head=0), max_epochs=2)
    without = fitted(tmp_path, Attention(num_items=0), max_epochs=2)
    for one, other in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, other)


def test_every_picture_is_handed_to_the_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, int]] = []
    monkeypatch.setitem(media.PICTURES, "CSVLogger", lambda logger, step, name, path: shown.append((name, step)))
    fitted(tmp_path, Attention(num_items=1), logger=CSVLogger(tmp_path))
    assert shown == [(name, 10) for name in ("attention", "attention_reference", "attention_strip")]


def test_curves_are_logged(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[Attention(items=[2])])
    module = ToyModule()
    trainer.fit(module, datamodule=ToyData())
    ids = encode(ToyData().words[2])
    weights = force_decode(module.model, [*ids, EOS], ids, True, device=CPU).weights.mean((0, 1)).double()
    entropy = -(weights * weights.log()).sum(-1).mean()
    assert trainer.callback_metrics["val/attention_entropy"].item() == pytest.approx(entropy.item(), abs=1e-6)
    assert trainer.callback_metrics["val/attention_diagonality"] <= 1


# Strips


def test_a_strip_keeps_the_first_and_the_last_step_and_even_gaps() -> None:
    frames: dict[int, dict[int, torch.Tensor]] = {}
    for step in range(1, 101):
        frames = thinned({**frames, step: {}}, 5)
        assert len(frames) == min(step, 5)
        assert list(frames)[-1] == step
        assert next(iter(frames)) == 1
    gaps = np.diff(list(frames))
    assert max(gaps) <= 4 * min(gaps)


@pytest.mark.parametrize("count", [1, 2])
def test_a_short_strip_ends_with_the_last_step(count: int) -> None:
    frames: dict[int, dict[int, torch.Tensor]] = {}
    for step in (10, 20, 30):
        frames = thinned({**frames, step: {}}, count)
    assert list(frames) == [10, 30][-count:]


def test_a_strip_puts_the_maps_side_by_side_in_the_order_of_steps() -> None:
    maps = {10: torch.rand(3, 4), 20: torch.rand(3, 4)}
    drawn = strip("validation 0", Labels([*"abc", "</s>"], [*"xyz"]), maps)
    assert np.array_equal(drawn.weights[:, :4], maps[10].numpy())
    assert np.isnan(drawn.weights[:, 4]).all()
    assert np.array_equal(drawn.weights[:, 5:], maps[20].numpy())
    assert [text for _, text in drawn.captions] == ["step 10", "step 20"]
    assert len(drawn.columns) == 9


def test_a_resumed_run_goes_on_with_the_strip(tmp_path: Path) -> None:
    whole, first, second = (Attention(num_items=2) for _ in range(3))
    fitted(tmp_path / "whole", whole, max_epochs=4)
    fitted(tmp_path / "first", first, max_epochs=2)
    fitted(tmp_path / "second", second, max_epochs=4, ckpt_path=tmp_path / "first" / "end.ckpt")
    assert list(second._frames) == list(whole._frames) == [10, 20, 30, 40]
    for step, frame in whole._frames.items():
        assert all(torch.equal(frame[index], second._frames[step][index]) for index in frame)


def test_a_strip_of_another_head_is_not_gone_on_with(tmp_path: Path) -> None:
    fitted(tmp_path, Attention(num_items=1))
    other = Attention(num_items=1, head=1)
    fitted(tmp_path / "other", other, max_epochs=2, ckpt_path=tmp_path / "end.ckpt")
    assert list(other._frames) == [20]


def test_no_more_than_so_many_tokens_of_a_side_are_drawn() -> None:
    item = Item(0, [*encode("abcdefgh"), EOS], encode("hgfe"), True, encode("abcdef"))
    maps = maps_of(toy_network(), item, CPU, 5)
    drawn = Attention(max_length=5)._panel(ToyData(), item, maps.reference)
    assert np.array_equal(drawn.weights, maps.reference.weights.mean((0, 1))[:5, :5].numpy())
    assert drawn.rows == [*"abcde"]
    assert drawn.columns == [*"abcde"]
    assert drawn.title == "validation 0, the first 5 tokens of 9"


def test_validation_alone_draws_no_strip(tmp_path: Path) -> None:
    fitted(tmp_path, Attention(num_items=1))
    trainer = toy_trainer(tmp_path / "validated", callbacks=[Attention(num_items=1)])
    trainer.validate(ToyModule(), datamodule=ToyData(), ckpt_path=tmp_path / "end.ckpt", verbose=False)
    assert (tmp_path / "validated" / "attention.png").exists()
    assert not (tmp_path / "validated" / "attention_strip.png").exists()
