"""Entropy and diagonality against loops, and where they are known."""

import math

import pytest
import torch
from torch import Tensor

from s2s_lightning.callbacks.attention.attention_curves import diagonality, entropy


def maps(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def slow_entropy(weights: Tensor) -> float:
    values = []
    for row in weights.tolist():
        total = sum(row)
        if total > 0:
            values.append(-sum(w / total * math.log(w / total) for w in row if w > 0))
    return sum(values) / len(values)


def slow_diagonality(weights: Tensor, length: int) -> float:
    found, even, rows = 0.0, 0.0, 0
    for t, row in enumerate(weights.tolist()):
        total, width = sum(row), len(row)
        if total == 0:
            continue
        rows += 1
        for s, w in enumerate(row):
            distance = abs((s + 0.5) / width - (t + 0.5) / length)
            found += w / total * distance
            even += distance / width
    return 1 - (found / rows) / (even / rows)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (1, 4)])
def test_both_are_those_of_a_loop(shape: tuple[int, int]) -> None:
    weights = maps(*shape)
    weights[0, 1] = 0
    if shape[0] > 2:
        weights[2] = 0  # a window behind the source
    assert entropy(weights).item() == pytest.approx(slow_entropy(weights), abs=1e-12)
    assert diagonality(weights).item() == pytest.approx(slow_diagonality(weights, shape[0]), abs=1e-12)
    assert diagonality(weights, 9).item() == pytest.approx(slow_diagonality(weights, 9), abs=1e-12)


def test_layers_and_heads_are_measured_each_for_itself() -> None:
    weights = maps(2, 3, 4, 5)
    for layer in range(2):
        for head in range(3):
            assert entropy(weights)[layer, head] == entropy(weights[layer, head])
            assert diagonality(weights)[layer, head] == diagonality(weights[layer, head])


def test_even_attention_has_the_highest_entropy_and_no_diagonality() -> None:
    even = torch.full((4, 6), 1 / 6, dtype=torch.float64)
    assert entropy(even).item() == pytest.approx(math.log(6))
    assert diagonality(even).item() == pytest.approx(0, abs=1e-12)


def test_the_diagonal_has_no_entropy_and_diagonality_one() -> None:
    assert entropy(torch.eye(6)).item() == 0
    assert diagonality(torch.eye(6)).item() == pytest.approx(1, abs=1e-12)


def test_the_other_diagonal_is_farther_away_than_even_attention() -> None:
    assert diagonality(torch.eye(200).flip(1)).item() == pytest.approx(-0.5, abs=0.01)


def test_rows_count_alike_whatever_they_sum_to() -> None:
    weights = maps(5, 4)
    scaled = weights * torch.tensor([0.1, 1, 0.5, 2, 0.01]).unsqueeze(1)
    assert torch.allclose(entropy(weights), entropy(scaled))
    assert torch.allclose(diagonality(weights), diagonality(scaled))


def test_a_map_without_weight_has_no_number_and_a_source_of_one_token_no_choice() -> None:
    assert entropy(torch.zeros(3, 4)).isnan()
    assert diagonality(torch.ones(3, 1)) == 1
    assert entropy(torch.ones(3, 1)) == 0
