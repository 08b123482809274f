"""Each law of the network is broken by the fault that it is there to find, and by few others."""

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError
from s2s_lightning.families import Hybrid
from s2s_lightning.model import Memory, MemoryShape, Seq2Seq
from s2s_lightning.testing import LAWS, BrokenLaw, Law, check_network
from tests.testing import broken


def network(part: type[nn.Module]) -> Seq2Seq:
    """A network with this part and a correct one."""
    torch.manual_seed(0)
    parts = {"encoder": broken.Mixing, "decoder": broken.Attending}
    parts["encoder" if issubclass(part, broken.Encoder) else "decoder"] = part  # type: ignore[assignment]
    return Hybrid(17, 13, d_embedding=8, **parts).model  # type: ignore[arg-type]


def failing(part: type[nn.Module]) -> dict[str, str]:
    """Name -> numbers of each law that fails."""
    return {result.law.name: result.said for result in check_network(network(part)) if result.status == "FAILS"}


@pytest.mark.parametrize("part", [broken.Mixing, broken.Attending])
def test_a_correct_part_of_ones_own_keeps_every_law(part: type[nn.Module]) -> None:
    assert failing(part) == {}


FAULTS: dict[type[nn.Module], set[str]] = {
    broken.FNet: {"padding"},
    broken.IgnoresMask: {"padding", "attention"},
    broken.AcrossRows: {"company", "statistics", "micro-batches"},
    broken.BatchNormed: {"statistics"},
    broken.OwnStatistics: {"statistics"},
    broken.DeadParameter: {"gradients"},
    broken.OneSummary: {"forms"},
    broken.NoRows: {"forms"},
    broken.ReturnsTensor: {"forms"},
    broken.ReturnsPair: {"forms"},
    broken.SeesFuture: {"pieces", "reordering", "padding", "causality", "causality to the bit"},
    broken.ChangesState: {"state"},
    broken.Forgets: {"pieces", "reordering"},
    broken.IgnoresReordering: {"reordering"},
    broken.ReadsNothing: {"source", "gradients", "attention"},
    broken.Grows: {"carry"},
}
"""Part -> every law that it breaks."""


@pytest.mark.parametrize(("part", "laws"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found_by_the_laws_that_it_breaks(part: type[nn.Module], laws: set[str]) -> None:
    assert set(failing(part)) == laws


def test_each_law_is_broken_by_some_fault() -> None:
    found = set().union(*FAULTS.values())
    assert found == {law.name for law in LAWS} - {"shared context"}  # which tests/nn/test_attention.py breaks


class Dropping(broken.Mixing):
    """It drops half of what it reads while it trains, without a module."""

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        return super().forward(nn.functional.dropout(x, 0.5, self.training), padding)


def test_a_law_that_says_nothing_of_a_network_is_not_applicable() -> None:
    results = {result.law.name: result for result in check_network(network(Dropping))}
    assert [name for name, result in results.items() if result.status != "ok"] == ["statistics"]
    assert "training draws random numbers" in results["statistics"].said


def test_the_row_that_differs_most_is_named() -> None:
    model = network(broken.AcrossRows).double()
    model.encoder.forward = lambda x, padding, forward=model.encoder.forward: last_row(forward(x, padding))  # type: ignore[method-assign]
    assert "of row 3 change by up to 1" in next(r.said for r in check_network(model) if r.law.name == "company")


def last_row(memory: Memory) -> Memory:
    """A memory whose states change in the fourth row of four alone."""
    states = torch.zeros_like(memory.states)
    states[3:] = 1
    return memory._replace(states=states)


def test_a_failure_has_the_measured_numbers() -> None:
    said = failing(broken.FNet)["padding"]
    assert "of row" in said
    assert "when 11 columns of padding are added" in said
    assert "unused.weight (none)" in failing(broken.DeadParameter)["gradients"]


def test_a_law_is_a_check_of_one_network_for_pytest() -> None:
    laws = {law.name: law for law in LAWS}
    model = network(broken.FNet).double().train()
    with pytest.raises(BrokenLaw, match="columns of padding"):
        laws["padding"].check(model)
    assert model.training
    laws["pieces"].check(model)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_a_check_leaves_a_network_as_it_was(law: Law) -> None:
    model = network(broken.BatchNormed)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    check_network(model, [law])
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_vocabulary_that_is_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="a vocabulary of 5 symbols is too small"):
        check_network(Hybrid(5, 13, d_embedding=8, encoder=broken.Mixing, decoder=broken.Attending))


SAID = {
    broken.ReturnsTensor: "Encoder ReturnsTensor returned a Tensor; return Memory(states, values, padding, summary)",
    broken.ReturnsPair: "Decoder ReturnsPair returned a tuple of 2; return DecoderOutput(hidden, state, attention,",
}


@pytest.mark.parametrize(("part", "said"), SAID.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_of_another_type_than_the_contract_says_is_one_line(part: type[nn.Module], said: str) -> None:
    assert failing(part)["forms"].startswith(said)
    assert "broken.py, line" in failing(part)["forms"]


def test_a_constructor_that_does_not_set_the_shape_is_one_line() -> None:
    with pytest.raises(UserError, match=r"Encoder NoShape: shape is not set; set self\.shape = MemoryShape\("):
        network(broken.NoShape)


def test_the_shape_of_a_memory_is_checked() -> None:
    model = network(broken.Mixing)
    model.encoder.shape = MemoryShape(9, (1, 8))
    (result,) = check_network(model, LAWS[:1])
    assert result.said == "Memory.states has shape (3, 8, 8), and must have (3, 8, 9)"
