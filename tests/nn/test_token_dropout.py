"""Dropout of whole tokens: in training alone, with the expectation of none, of all occurrences together."""

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning import BOS, EOS, PAD, UNK
from s2s_lightning.errors import UserError
from s2s_lightning.nn.token_dropout import TokenDropout
from tests.objectives.networks import FAMILIES, network, some_batch

VOCAB, WIDTH = 12, 3


@pytest.fixture
def ids() -> Tensor:
    """Sentences with repeated words, BOS, EOS and padding."""
    torch.manual_seed(0)
    rows = torch.randint(UNK + 1, VOCAB, (400, 9))
    rows[:, 0], rows[:, 7], rows[:, 8] = BOS, EOS, PAD
    return rows


@pytest.fixture
def embed() -> nn.Embedding:
    """Vectors of which none is zero."""
    torch.manual_seed(1)
    embedding = nn.Embedding(VOCAB, WIDTH, dtype=torch.float64)
    nn.init.uniform_(embedding.weight, 1, 2)
    return embedding


def dropping(word: float = 0.0, embedding: float = 0.0) -> TokenDropout:
    """In training mode."""
    dropout = TokenDropout().train()
    dropout.set(word, embedding)
    return dropout


def test_word_dropout_makes_words_unknown_and_nothing_else(ids: Tensor, embed: nn.Embedding) -> None:
    x = dropping(word=0.25)(ids, embed)
    unknown = (x == embed.weight[UNK]).all(-1)
    assert torch.equal(x[~unknown], embed(ids)[~unknown])
    assert not unknown[:, [0, 7, 8]].any()
    assert unknown[:, 1:7].double().mean().item() == pytest.approx(0.25, abs=0.03)


def test_embedding_dropout_drops_all_occurrences_of_a_word_in_a_sentence(ids: Tensor, embed: nn.Embedding) -> None:
    dropped = (dropping(embedding=0.4)(ids, embed) == 0).all(-1)
    same = ids.unsqueeze(2) == ids.unsqueeze(1)
    assert torch.equal(dropped.unsqueeze(2) & same, dropped.unsqueeze(1) & same)
    words = dropped[:, 1:7]
    assert words.double().mean().item() == pytest.approx(0.4, abs=0.03)
    assert words.sum(1).double().var() > 0  # sentences do not share their dropped words
    assert not dropped[:, [0, 7, 8]].any()


def test_embedding_dropout_keeps_the_expectation(ids: Tensor, embed: nn.Embedding) -> None:
    dropout, few = dropping(embedding=0.3), ids[:4]
    mean = torch.stack([dropout(few, embed) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, embed(few), rtol=0.05, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_does_not_see_it_and_training_does(family: str) -> None:
    model, batch = network(family), some_batch()
    expected = model.teacher_force(batch).hidden
    for dropout in (model.src_dropout, model.tgt_dropout):
        dropout.set(0.9, 0.9)
        assert torch.equal(model.teacher_force(batch).hidden, expected)
        assert not torch.equal(model.teacher_force(batch).hidden, _training(model, dropout, batch))
        dropout.set(0.0, 0.0)
    assert not [name for name in model.state_dict() if "_dropout" in name]


def _training(model, dropout, batch) -> Tensor:  # type: ignore[no-untyped-def]
    """With this one module in training mode."""
    dropout.train()
    hidden: Tensor = model.teacher_force(batch).hidden
    dropout.eval()
    return hidden


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_a_probability_that_drops_everything_or_less_than_nothing_is_refused(p: float) -> None:
    with pytest.raises(UserError, match="it must be 0 or more and below 1"):
        dropping(embedding=p)
