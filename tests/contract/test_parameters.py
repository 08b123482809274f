"""Law 8: a shipped configuration has the parameters that the closed formula of docs/families.md counts."""

import re
from pathlib import Path

import pytest

from tests.contract.conftest import SRC_VOCAB, TGT_VOCAB, build

LETTERS = {
    "E": "d_embedding",
    "D": "d_model",
    "F": "d_ff",
    "A": "d_score",
    "M": "d_maxout",
    "K": "kernel_size",
    "P": "max_positions",
    "N": "num_encoder_layers",
    "L": "num_decoder_layers",
}

TABLE = re.findall(r"^\| `(\w+)` \| `(.*)` \| `(.*)` \| `(.*)` \|$", Path("docs/families.md").read_text(), re.MULTILINE)


def test_every_configuration_has_its_row() -> None:
    assert {name for name, *_ in TABLE} == {path.stem for path in Path("configs").glob("*.yaml")}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_the_formula_counts_the_parameters(row: tuple[str, str, str, str]) -> None:
    name, ends, encoder, decoder = row
    module = build(Path(f"configs/{name}.yaml"))
    sizes = {letter: module.hparams.get(option) for letter, option in LETTERS.items()}
    counted = [eval(formula, {}, {**sizes, "U": SRC_VOCAB, "V": TGT_VOCAB}) for formula in (ends, encoder, decoder)]
    model = module.model
    coders = [sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.decoder)]
    total = sum(p.numel() for p in model.parameters())
    assert counted == [total - sum(coders), *coders]
