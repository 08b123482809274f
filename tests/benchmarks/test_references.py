"""Every family has a network that its speed is compared with, and each of those trains at the family's sizes."""

from pathlib import Path

import pytest
import torch

from benchmarks.reduced import reduced
from benchmarks.references.__main__ import batch_of, model_spec, new_module, new_reference
from benchmarks.references.catalogue import REFERENCES, Entry

CONFIGS = sorted(path.stem for path in Path("configs").glob("*.yaml"))
CASES = [pytest.param(name, entry, id=f"{name}: {entry.name}") for name in CONFIGS for entry in REFERENCES[name]]


def test_every_family_has_a_reference() -> None:
    assert sorted(REFERENCES) == CONFIGS


@pytest.mark.parametrize(("name", "entry"), CASES)
def test_a_reference_takes_a_step_of_the_same_sizes(name: str, entry: Entry) -> None:
    pytest.importorskip("transformers")
    spec = reduced(model_spec(Path(f"configs/{name}.yaml"), entry), 16)
    batch = batch_of(5, 3, empty_source=name == "lm")
    ours, reference = new_module(spec), new_reference(spec, entry, 5)
    for loss in (ours.objective(ours.model, batch).sum, reference.loss(batch)):
        loss.backward()
        assert torch.isfinite(loss)
    sizes = [sum(p.numel() for p in network.parameters() if p.grad is not None) for network in (ours, reference)]
    assert not entry.same or 0.8 < sizes[0] / sizes[1] < 1.25
