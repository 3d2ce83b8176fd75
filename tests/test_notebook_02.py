"""What notebook 02 writes out, held against the helpers that later notebooks import."""
from __future__ import annotations


import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d

from course_utils.models import DCCritic, DCGenerator, dcgan_init
from notebook_cells import defined



@pytest.fixture(scope="module")
def cells() -> dict:
    """The functions of the cells that write out the layer, its gap to an adjoint, and both nets."""
    names = {"torch": torch, "nn": nn, "conv2d": conv2d, "conv_transpose2d": conv_transpose2d, "dcgan_init": dcgan_init}
    return defined("02", ("fractionally_strided", "generator", "critic", "adjoint_gap"), names)


def test_the_written_out_generator_is_the_helper(cells):
    torch.manual_seed(0)
    written, helper = cells["generator"](10, 6), DCGenerator(10, (3, 32, 32), 6)
    helper.net.load_state_dict(written.state_dict())
    z = torch.randn(5, 10)
    torch.testing.assert_close((written(z[:, :, None, None]) + 1) / 2, helper(z))
    assert [type(layer) for layer in written] == [type(layer) for layer in helper.net]


def test_the_written_out_critic_is_the_helper(cells):
    torch.manual_seed(0)
    written, helper = cells["critic"](6), DCCritic((3, 32, 32), 6)
    helper.net.load_state_dict(written.state_dict())
    x = torch.rand(5, 3, 32, 32)
    torch.testing.assert_close(written(2 * x - 1).flatten(), helper(x))
    assert [type(layer) for layer in written] == [type(layer) for layer in helper.net]


@pytest.mark.parametrize("side, stride, padding", [(4, 2, 1), (4, 1, 0), (3, 2, 0), (5, 3, 2), (2, 2, 0)])
def test_zeros_between_the_pixels_and_a_turned_kernel_are_the_transposed_convolution(cells, side, stride, padding):
    y, kernel = torch.randn(2, 3, 5, 5, dtype=torch.float64), torch.randn(3, 4, side, side, dtype=torch.float64)
    expected = conv_transpose2d(y, kernel, stride=stride, padding=padding)
    torch.testing.assert_close(cells["fractionally_strided"](y, kernel, stride, padding), expected)


def test_the_gap_is_nought_for_a_transpose_and_for_nothing_else(cells):
    A, x, y = torch.randn(3, 5).double(), torch.randn(5).double(), torch.randn(3).double()
    assert cells["adjoint_gap"](lambda x: A @ x, lambda y: A.T @ y, x, y) < 1e-12
    assert cells["adjoint_gap"](lambda x: A @ x, lambda y: -A.T @ y, x, y) > 1e-3
