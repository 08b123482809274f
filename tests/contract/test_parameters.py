"""Law 8: a shipped configuration has the parameters that the closed formula of docs/models/families.md counts."""

from pathlib import Path

from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB
from scripts.document_families import DOCUMENT, PARTS, counted, document, families, family
from tests.contract.conftest import build


def test_the_document_is_what_the_docstrings_say() -> None:
    assert DOCUMENT.read_text() == document(families()), "run python scripts/document_families.py"


def test_the_formula_counts_the_parameters(config: Path) -> None:
    module, card = build(config), family(config).card
    formulas = [counted(card[part], dict(module.hparams), SRC_VOCAB, TGT_VOCAB) for part in PARTS]
    model = module.model
    coders = [sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.decoder)]
    total = sum(p.numel() for p in model.parameters())
    assert formulas == [total - sum(coders), *coders]
