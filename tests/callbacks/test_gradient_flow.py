"""Gradients through time over a run; the norms themselves are proven in tests/test_through_time.py."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from s2s_lightning import families
from s2s_lightning.callbacks import GradientFlow
from s2s_lightning.callbacks.diagnostics.gradient_flow import Norm, as_batch, draw, means, slope
from s2s_lightning.callbacks.diagnostics.through_time import decoder_norms, encoder_norms
from s2s_lightning.errors import UserError
from s2s_lightning.training.module import Seq2SeqModule
from tests.callbacks.test_throughput import Recorded
from tests.helpers.toy import VOCAB, ToyData, toy_trainer


def small_lstm() -> Seq2SeqModule:
    torch.manual_seed(0)
    return families.LSTM(VOCAB, d_embedding=4, d_model=4, num_layers=1, dropout=0.3)


def fit(folder: Path, module: Seq2SeqModule, callback: GradientFlow | None, **options: object) -> Recorded:
    logger = Recorded(folder)
    callbacks = [] if callback is None else [callback]
    torch.manual_seed(1)
    toy_trainer(folder, callbacks=callbacks, logger=logger, **options).fit(module, datamodule=ToyData())
    return logger


def rows(folder: Path) -> list[Norm]:
    with (folder / "gradient_flow.csv").open() as file:
        return [
            Norm(int(r["step"]), r["part"], int(r["sentence"]), int(r["distance"]), float(r["norm"]))
            for r in csv.DictReader(file)
        ]


def test_the_file_has_the_norms_of_the_validated_weights(tmp_path: Path) -> None:
    callback, seen = GradientFlow(num_sentences=3), []
    report = callback.report
    callback.report = lambda *args: (seen.extend(args[3]), report(*args))  # type: ignore[method-assign]
    module = small_lstm()
    logger = fit(tmp_path, module, callback)
    model, found = module.model.eval(), rows(tmp_path)
    assert len(seen) == 3
    for pair in seen:
        batch = as_batch(pair, torch.device("cpu"))
        for part, norms in (("encoder", encoder_norms(model, batch)), ("decoder", decoder_norms(model, batch))):
            written = [row.norm for row in found if row.part == part and row.sentence == pair.index]
            assert norms is None or torch.allclose(torch.tensor(written, dtype=norms.dtype), norms)
    logged = {name: value for row in logger.rows for name, value in row.items() if name.startswith("gradient_flow/")}
    for part, value in logged.items():
        assert value == pytest.approx(slope([row for row in found if f"gradient_flow/{row.part}" == part]), rel=1e-5)
    assert set(logged) == {"gradient_flow/encoder", "gradient_flow/decoder"}
    assert len(np.unique(np.asarray(Image.open(tmp_path / "gradient_flow.png")))) > 10


def test_training_is_bit_equal_with_and_without_it(tmp_path: Path) -> None:
    with_it, without = small_lstm(), small_lstm()
    fit(tmp_path, with_it, GradientFlow(), val_check_interval=2)
    fit(tmp_path, without, None, val_check_interval=2)
    for one, other in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_looks_at_every_second_validation(tmp_path: Path) -> None:
    fit(tmp_path, small_lstm(), GradientFlow(num_sentences=1, every=2), val_check_interval=2)  # after 2, 4, .. 10 steps
    assert sorted({row.step for row in rows(tmp_path)}) == [2, 6, 10]


def test_of_a_transformer_it_says_once_that_nothing_recurs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"d_model": 4, "num_heads": 2, "d_ff": 4, "num_encoder_layers": 1, "num_decoder_layers": 1}
    fit(tmp_path, families.Transformer(VOCAB, **sizes), GradientFlow(num_sentences=1), max_epochs=2)
    assert capsys.readouterr().out.count("nothing recurs in the encoder and the decoder") == 1
    assert not (tmp_path / "gradient_flow.png").exists()


def test_a_long_sentence_is_cut(tmp_path: Path) -> None:
    fit(tmp_path, small_lstm(), GradientFlow(max_length=2))
    assert max(row.distance for row in rows(tmp_path)) == 1


def test_the_slope_of_a_geometric_decay_is_its_logarithm() -> None:
    norms = [Norm(1, "encoder", index, d, scale * 0.8**d) for index, scale in ((0, 1.0), (1, 1.0)) for d in range(9)]
    assert slope(norms) == pytest.approx(np.log10(0.8))
    assert slope([*norms, norms[0]._replace(distance=9, norm=0.0)]) == pytest.approx(np.log10(0.8))
    assert np.isnan(slope(norms[:1]))


def test_sentences_are_averaged_by_the_geometric_mean() -> None:
    norms = [Norm(1, "encoder", index, 0, norm) for index, norm in enumerate((1.0, 4.0))]
    assert means([*norms, Norm(1, "encoder", 0, 1, 0.0)]) == [(0, pytest.approx(2.0)), (1, 0.0)]


def test_a_diverged_network_is_drawn_without_an_error(tmp_path: Path) -> None:
    draw([Norm(1, "encoder", 0, d, float("nan")) for d in range(3)], tmp_path / "nan.png")
    assert (tmp_path / "nan.png").exists()


def test_settings_out_of_range_are_refused() -> None:
    for settings in ({"every": 0}, {"num_sentences": 0}, {"max_length": 1}):
        with pytest.raises(UserError, match=next(iter(settings))):
            GradientFlow(**settings)
