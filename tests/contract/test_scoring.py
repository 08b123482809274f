"""What a search writes scores as it said, over every shipped configuration."""

from pathlib import Path

import pytest
import torch
import yaml

from s2s_lightning import EOS
from s2s_lightning.data import Pretokenized, Seq2SeqData
from s2s_lightning.data.vocabularies import Tokenizers
from s2s_lightning.decoding import Beam, Decoding, Greedy
from s2s_lightning.inference.trained import Trained
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB
from tests.contract.conftest import build

SOURCES = ["s04 s05 s06", "", "s07", "zoe s04 max s05 zoe", "s09 s09 s09 s09 s09 s09"]
"""Two words are in no vocabulary: a network that copies says them."""
LIMITS = {"max_length_ratio": 0.0, "max_length_offset": 6}
SEARCHES = {"greedy": Greedy(**LIMITS), "beam": Beam(6, n_best=6, min_length=3, **LIMITS)}


def tokenizer(side: str, size: int) -> Pretokenized:
    """One word for each id from 4 on: s04, s05, ... or t04, t05, ..."""
    found = Pretokenized()
    found.train([f"{side}{i:02}" for i in range(4, size)])
    return found


def trained(config: Path, joint: bool) -> Trained:
    """The network of a configuration with tokenizers of words, in float64; it likes to end."""
    module = build(config, None if joint else TGT_VOCAB).double()
    with torch.no_grad():
        module.model.readout.bias[EOS] += 3.0
    data = Seq2SeqData(copy=yaml.safe_load(config.read_text())["data"].get("copy", False))
    target = None if joint else tokenizer("t", TGT_VOCAB)
    data.load_state_dict({"tokenizers": Tokenizers(tokenizer("s", SRC_VOCAB), target).state()})
    return Trained(module, data, {})


def written(model: Trained, search: Decoding) -> list[tuple[str, str, float]]:
    """Source, text and log-probability of each finished output."""
    found = []
    for batch in model.data.encode_sources(SOURCES):
        hypotheses = search(model.module.model, batch.src, batch.src_padding, batch.src_copy)
        for row, best in zip(batch.rows.tolist(), hypotheses, strict=True):
            finished = [(h.tokens, h.log_prob) for h in best if h.finished]
            texts = model.data.decode([tokens for tokens, _ in finished], [SOURCES[row]] * len(finished))
            found += [(SOURCES[row], text, p) for text, (_, p) in zip(texts, finished, strict=True)]
    return found


def check(model: Trained) -> None:
    """In both precisions."""
    for precision in (1e-9, 1e-4):
        outputs = [output for search in SEARCHES.values() for output in written(model, search)]
        assert len(outputs) > len(SOURCES)
        assert any(len(text.split()) > 1 for _, text, _ in outputs)
        scored = model.score([source for source, _, _ in outputs], [text for _, text, _ in outputs])
        for (_, text, log_prob), found in zip(outputs, scored, strict=True):
            assert found.log_prob == pytest.approx(log_prob, abs=precision)
            assert found.tokens == [*text.split(), "</s>"]
        model.module.float()


def test_score_of_what_a_search_wrote_is_its_log_prob(config: Path) -> None:
    check(trained(config, joint=False))


@pytest.mark.parametrize("name", ["transformer", "pointer", "lm"])
def test_with_one_vocabulary_for_both_sides_too(name: str) -> None:
    check(trained(Path(f"configs/{name}.yaml"), joint=True))


def test_words_that_are_copied_score_as_copies() -> None:
    """Each of them is more probable than the unknown word, and none is counted as one."""
    model = trained(Path("configs/pointer.yaml"), joint=False)
    copied, unknown = model.score(["zoe s04 max"] * 2, ["max zoe", "tim ann"])
    assert (copied.unknown, unknown.unknown) == (0, 2)
    assert copied.tokens == ["max", "zoe", "</s>"]
    assert unknown.tokens == ["<unk>", "<unk>", "</s>"]
    outputs = written(model, Beam(30, n_best=30, **LIMITS))
    assert any("zoe" in text or "max" in text for _, text, _ in outputs)
