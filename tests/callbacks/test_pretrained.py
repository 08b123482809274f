"""Vectors from a file become what the embedding gives for their words."""

import gzip
from pathlib import Path

import pytest
import torch

from s2s_lightning.callbacks import PretrainedEmbeddings
from s2s_lightning.callbacks.weights.pretrained import fill
from s2s_lightning.errors import UserError
from s2s_lightning.model import TokenEmbedding
from tests.helpers.toy import ToyData, ToyModule, toy_trainer

TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "▁the", "the", "cat", "▁"]


def written(folder: Path, *lines: str) -> str:
    path = folder / "vectors.txt.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(f"{line}\n" for line in lines)
    return str(path)


@pytest.mark.parametrize("header", [[], ["3 2"]], ids=["GloVe", "word2vec"])
def test_a_token_gives_the_vector_of_the_word_that_it_spells(tmp_path: Path, header: list[str]) -> None:
    embedding = TokenEmbedding(len(TOKENS), 2, std=0.1, scale=4.0)
    before = embedding.weight.detach().clone()
    path = written(tmp_path, *header, "the 1.5 -2", "dog 7 7", "the 9 9", "new york 3 4")
    assert fill(embedding, TOKENS, path) == 2
    given = embedding(torch.tensor([4, 5]))
    torch.testing.assert_close(given, torch.tensor([[1.5, -2.0], [1.5, -2.0]]))
    assert torch.equal(embedding.weight[[0, 3, 6, 7]], before[[0, 3, 6, 7]])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["the 1 2 3"], "line 1: a vector of 3 numbers for an embedding that is 2 wide"),
        (["the 1 2", "cat 1"], "line 2: a vector of 1 numbers"),
        (["the 1 x"], "word the: could not convert"),
        (["the 1 nan"], "word the: a number is infinite or none at all"),
        (["hund 1 2"], "none of the 8 tokens"),
        (["<pad> 1 2"], "none of the 8 tokens"),
    ],
)
def test_what_is_no_file_of_such_vectors_is_refused_in_a_line(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        fill(TokenEmbedding(len(TOKENS), 2, std=0.1), TOKENS, written(tmp_path, *lines))


def test_training_starts_from_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Data(ToyData):
        def src_tokens(self, ids: object) -> list[str]:
            return ["<pad>", "<s>", "</s>", "<unk>", *"abcdefgh"]

        def tgt_tokens(self, ids: object, source: str) -> list[str]:
            return ["<pad>", "<s>", "</s>", "<unk>", *"hgfedcba"]

    module, path = ToyModule(), written(tmp_path, "b 1 2 3 4 5 6")
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=0.0)
    toy_trainer(tmp_path, callbacks=[PretrainedEmbeddings(src=path, tgt=path)]).fit(module, datamodule=Data())
    for embedding, token in ((module.model.src_embedding, 5), (module.model.tgt_embedding, 10)):
        torch.testing.assert_close(embedding(torch.tensor(token)), torch.arange(1.0, 7.0).double())
    assert "vectors for 1 of 12 tokens" in capsys.readouterr().out


def test_no_file_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="give src, tgt or both"):
        PretrainedEmbeddings()
