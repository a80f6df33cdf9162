"""Sums of weighted rows of a table, and their gradient."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from smoothiou.detectors.weighted_rows import weighted_rows


def entries(*, table_rows, rows, taps=16, channels=8):
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(table_rows, channels, generator=generator)
    index = torch.randint(table_rows, (rows, taps), generator=generator)
    return table, index, torch.rand(rows, taps, generator=generator)


def value_and_gradient(function, table, *arguments):
    leaf = table.clone().requires_grad_()
    result = function(leaf, *arguments)
    (result * torch.linspace(-1, 1, result.numel()).view_as(result)).sum().backward()
    return result, leaf.grad


@pytest.mark.parametrize("table_rows", [1, 30, 40_000])  # 40,000 rows are too many for int16
def test_value_and_gradient_are_those_of_embedding_bag(table_rows):
    table, *arguments = entries(table_rows=table_rows, rows=50)

    def bag(table, index, weight):
        return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")

    for ours, theirs in zip(
        value_and_gradient(weighted_rows, table, *arguments), value_and_gradient(bag, table, *arguments), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)


def test_it_is_a_sparse_matrix_times_the_table():
    table, index, weight = entries(table_rows=9, rows=5)
    matrix = torch.zeros(5, 9).scatter_add_(1, index, weight)
    result, gradient = value_and_gradient(weighted_rows, table, index, weight)
    torch.testing.assert_close(result, matrix @ table)
    torch.testing.assert_close(gradient, matrix.T @ torch.linspace(-1, 1, result.numel()).view_as(result))


def test_rows_that_nothing_names_have_no_gradient():
    table = torch.ones(4, 2, requires_grad=True)
    weighted_rows(table, torch.tensor([[2, 2]]), torch.tensor([[0.5, 0.25]])).sum().backward()
    assert table.grad is not None
    assert table.grad.tolist() == [[0, 0], [0, 0], [0.75, 0.75], [0, 0]]


def test_no_boxes_give_no_rows():
    table, index, weight = entries(table_rows=9, rows=0)
    result, gradient = value_and_gradient(weighted_rows, table, index, weight)
    assert result.shape == (0, 8)
    assert not gradient.any()
