"""The commands of docs/experiments/comparing.md, on pretended systems; the output that it shows is theirs."""

import re
from pathlib import Path

import pytest

from tests.cli.conftest import done
from tests.evaluation.comparison.texts import noisy, references
from tests.helpers.documents import blocks, commands

DOCUMENT = "docs/experiments/comparing.md"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the document names."""
    right = references()
    texts = {
        "test.de": noisy(right, 0.3, 8),
        "test.en": right,
        "test.2.en": noisy(right, 0.1, 7),
        "greedy.out": noisy(right, 0.4, 1),
        "beam.out": noisy(right, 0.3, 2),
        **{f"big/{seed}/test.out": noisy(right, 0.15, seed) for seed in (3, 4, 5)},
    }
    for name, lines in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)


def words(command: str) -> list[str]:
    return [word.strip("'") for word in command.split()[3:]]


def without_versions(text: str) -> str:
    return re.sub(r"version:\S+", "version", text).strip()


@pytest.mark.usefixtures("files")
def test_the_output_in_the_document_is_that_of_its_command() -> None:
    typed, (shown, *_) = commands(DOCUMENT), blocks(DOCUMENT, "text")
    assert without_versions(done(*words(typed[0])).out) == without_versions(shown)


@pytest.mark.usefixtures("files")
def test_every_command_runs() -> None:
    typed = commands(DOCUMENT)
    assert len(typed) >= 5
    for command in typed[1:]:
        assert done(*words(command)).code == 0
