"""The commands and the program of docs/models/attention.md."""

from pathlib import Path

import pytest

from tests.helpers.documents import blocks, commands, type_in, workplace

DOCUMENT = "docs/models/attention.md"

TINY = """
data: {corpus: {class_path: Generated, init_args: {max_length: 4, train_pairs: 60, val_pairs: 4, test_pairs: 4}}}
trainer: {accelerator: cpu}
"""


def test_its_commands_and_its_program_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workplace(tmp_path, monkeypatch)
    (folder / "tiny.yaml").write_text(TINY)
    for name, text in {"train.de": "das Haus\n", "train.en": "the house\n"}.items():
        (folder / name).write_text(text * 20)
        (folder / name.replace("train", "val")).write_text(text)
    (folder / "val.align").write_text("0-0 1-1\n")
    drawing, aligning = commands(DOCUMENT)
    type_in(f"{drawing} --config tiny.yaml", monkeypatch)
    (program,) = blocks(DOCUMENT, "python")
    capsys.readouterr()
    exec(compile(program, DOCUMENT, "exec"), {})
    assert capsys.readouterr().out.count("</s>") >= 4
    type_in(f"{aligning} --trainer.accelerator cpu", monkeypatch)
    (table,) = folder.glob("runs/*/latest/alignment.csv")
    assert table.read_text().startswith("step,layer,head,alignment_error_rate\n1,0,0,")
