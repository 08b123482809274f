"""Law 21: what a model cannot be made of is refused in one line, by the name of the option."""

from pathlib import Path

import pytest
import yaml

from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.config.parser import class_options
from s2s_lightning.errors import UserError
from s2s_lightning.testing import SRC_VOCAB
from s2s_lightning.training.module import Seq2SeqModule


def test_a_size_of_zero_is_refused_by_the_name_of_its_option(config: Path) -> None:
    spec = yaml.safe_load(config.read_text())["model"]
    arguments = {**spec["init_args"], "src_vocab_size": SRC_VOCAB}
    options = class_options(spec["class_path"]).items()
    sizes = [name for name, kind in options if kind in (int, int | None) and not name.endswith("vocab_size")]
    assert sizes
    for name in sizes:
        with pytest.raises(UserError, match=rf"\b{name}=0"):
            instantiate({**spec, "init_args": {**arguments, name: 0}}, Seq2SeqModule)
