"""BPE-dropout: other pieces in each epoch, the same ones whenever that epoch is read again."""

from pathlib import Path

import pytest
from lightning.pytorch import seed_everything

from s2s_lightning import EOS, PAD
from s2s_lightning.data import BPE, Seq2SeqData, TextFiles
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch

BUDGET = 120


@pytest.fixture
def corpus(tmp_path: Path) -> TextFiles:
    words = ["lower", "lowest", "newer", "newest", "wider", "widest", "low", "new", "wide"]
    lines = [" ".join((words[i % 9], words[i // 9 % 9], words[i * 5 % 9])) for i in range(200)]
    for side in ("src", "tgt"):
        (tmp_path / side).write_text("".join(f"{line}\n" for line in lines))
    paths = {f"{split}_{side}": str(tmp_path / side) for split in ("train", "val") for side in ("src", "tgt")}
    return TextFiles(**paths)


def data(corpus: TextFiles, cache: Path, **options: int) -> Seq2SeqData:
    """With half of the merges left out."""
    tokenizer = BPE(vocab_size=300, dropout=0.5)
    return Seq2SeqData(corpus, tokenizer, max_tokens=BUDGET, cache_dir=str(cache), **options)


def epoch(loader: object, number: int) -> list[Batch]:
    loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
    return list(loader)  # type: ignore[call-overload]


def ids(batches: list[Batch]) -> list[list[list[int]]]:
    return [batch.tgt_out.tolist() for batch in batches]


def test_an_epoch_has_other_pieces_of_the_same_texts(corpus: TextFiles, tmp_path: Path) -> None:
    module = data(corpus, tmp_path)
    loader = module.train_dataloader()
    expected = sorted(pair.refs[0] for pair in corpus.read("train"))
    rows = []
    for number in range(2):
        found = [[i for i in row if i not in (PAD, EOS)] for batch in ids(epoch(loader, number)) for row in batch]
        assert sorted(module.decode(found)) == expected
        rows.append(sorted(found))
    assert rows[0] != rows[1]


def test_budget_and_number_of_batches_hold_in_each_epoch(corpus: TextFiles, tmp_path: Path) -> None:
    loader = data(corpus, tmp_path).train_dataloader()
    for number in range(4):
        batches = epoch(loader, number)
        assert len(batches) == len(loader)
        assert max(max(batch.src.numel(), batch.tgt_out.numel()) for batch in batches) <= BUDGET
        assert sorted(int(row) for batch in batches for row in batch.rows) == list(range(200))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_is_the_same_in_a_later_process(corpus: TextFiles, tmp_path: Path, num_workers: int) -> None:
    first = data(corpus, tmp_path).train_dataloader()
    before = [ids(epoch(first, number)) for number in range(3)]
    again = data(corpus, tmp_path, num_workers=num_workers).train_dataloader()
    assert [ids(epoch(again, number)) for number in (2, 1)] == [before[2], before[1]]


def test_another_seed_reads_other_pieces(corpus: TextFiles, tmp_path: Path) -> None:
    one, two = (sorted(map(str, ids(epoch(data(corpus, tmp_path, seed=s).train_dataloader(), 0)))) for s in (1, 2))
    assert one != two


def test_evaluation_and_the_checkpoints_tokenizer_draw_nothing(corpus: TextFiles, tmp_path: Path) -> None:
    seed_everything(0)
    module = data(corpus, tmp_path / "one")
    module.train_dataloader()
    other = data(corpus, tmp_path / "two")
    other.load_state_dict(module.state_dict())
    assert ids(list(other.val_dataloader())) == ids(list(module.val_dataloader()))
    assert other.tokenizers.src.samples


def test_a_dropout_of_one_is_refused() -> None:
    with pytest.raises(UserError, match="dropout=1"):
        BPE(dropout=1.0)
