"""Overlays of configs/data and examples of docs/start/data.md: each is read, and runs on files of its names."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

from s2s_lightning.data import Seq2SeqData
from tests.helpers.documents import ROOT, blocks

OVERLAYS = sorted((ROOT / "configs" / "data").glob("*.yaml"))
EXAMPLES = {path.stem: path.read_text() for path in OVERLAYS} | dict(enumerate(blocks("docs/start/data.md", "yaml")))

ROWS = [(f"source {i}", f"target {i}") for i in range(3000)]


def build(text: str, cache: Path) -> Seq2SeqData:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Seq2SeqData, "data")
    config = parser.parse_object(yaml.safe_load(text))
    config.data.cache_dir = str(cache)
    return parser.instantiate_classes(config).data


def write(path: Path) -> None:
    """Rows in the format that the name says."""
    side = 1 if path.suffixes[-2:] == [".en", ".gz"] else 0
    lines = {
        ".tsv": [f"{src}\t{tgt}" for src, tgt in ROWS],
        ".jsonl": [json.dumps({"translation": {"de": src, "en": tgt}}) for src, tgt in ROWS],
    }
    kind = next((suffix for suffix in path.suffixes if suffix in lines), None)
    content = "\n".join(lines[kind] if kind else [row[side] for row in ROWS]).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def paths(options: dict[str, Any]) -> list[str]:
    return [value for value in options.values() if isinstance(value, str) and "." in value and " " not in value]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_understood_and_touches_data_alone(name: str, tmp_path: Path) -> None:
    assert list(yaml.safe_load(EXAMPLES[name])) == ["data"]
    assert isinstance(build(EXAMPLES[name], tmp_path), Seq2SeqData)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "hub"])
def test_an_example_runs_on_files_of_its_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = yaml.safe_load(EXAMPLES[name])["data"].get("corpus", {})
    for path in paths({k: v for k, v in corpus.get("init_args", {}).items() if k.startswith(("train", "val", "test"))}):
        write(tmp_path / path)
    data = build(EXAMPLES[name], tmp_path / "cache")
    assert len(next(iter(data.train_dataloader())).src) > 1
    assert data.store("val").info.pairs > 0
