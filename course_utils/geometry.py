"""Where the answers change around a picture: cross-sections, straight borders, and how many directions lead across.

Nothing here is clipped to [0, 1]: the geometry is that of the classifier, and directions stay orthogonal. ``model`` is a module
or function (B, ...) -> logits (B, K). It is asked in eval mode and in full float32, modules within a function too; afterwards it is in the mode that it came in.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_utils.precision import full_precision
from course_utils.training.mode import at_rest, mode
from course_utils.validate import expect, expect_count, expect_labels, expect_positive

Model = Callable[[Tensor], Tensor]


def answers(model: Model, x: Tensor, batch: int = 1000) -> Tensor:
    """The class that ``model`` gives to each of ``x`` (N, ...), (N,) int64."""
    with torch.no_grad(), full_precision(), mode(model, train=False), at_rest():
        return torch.cat([model(part).argmax(1) for part in x.split(batch)])


def random_directions(like: Tensor, generator: torch.Generator, perpendicular: bool = False) -> Tensor:
    """For each of ``like`` (N, ...) a random direction of the same length; with ``perpendicular`` at a right angle to it.

    Uniform over all such directions. ``generator`` lives on the CPU or on CUDA. Raises ValueError for a row of ``like`` that is 0.
    """
    rows = like.flatten(1)
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    expect(bool((length > 0).all()), "like", "no direction of length 0", f"{int((length == 0).sum())} of them")
    drawn = torch.randn(rows.shape, generator=generator, dtype=torch.float64, device="cpu").to(rows.dtype).to(rows.device)
    if perpendicular:
        drawn = drawn - (drawn * rows).sum(1, keepdim=True) / length**2 * rows
    return (drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True) * length).view_as(like)


def cross_sections(model: Model, x: Tensor, right: Tensor, up: Tensor, *, side: int = 25, batch: int = 1000) -> Tensor:
    """What ``model`` answers on a plane through each of ``x`` (N, ...): (N, side, side) int64.

    Column j of a map lies at x + t right, t from -1 at the left to 1 at the right; row i at x + s up, s from 1 at the top to -1 at
    the bottom. ``side`` is odd, so that x itself is in the middle. ``right`` and ``up`` are like ``x``. Raises ValueError otherwise.
    """
    expect_count(side, "side", 3)
    expect(side % 2 == 1, "side", "an odd number: x is the middle", side)
    for name, direction in (("right", right), ("up", up)):
        expect(direction.shape == x.shape, name, f"directions {tuple(x.shape)}", f"the shape {tuple(direction.shape)}")
    t = torch.linspace(-1, 1, side, dtype=x.dtype, device=x.device)
    across, down = t.repeat(side), t.flip(0).repeat_interleave(side)
    shaped = (-1, *[1] * (x.ndim - 1))
    maps = [answers(model, one + across.view(shaped) * r + down.view(shaped) * u, batch) for one, r, u in zip(x, right, up)]
    return torch.stack(maps).view(len(x), side, side)


def straight_border(inside: Tensor, angles: int = 72) -> Tensor:
    """How well one straight line parts each map ``inside`` (N, side, side), bool: the share of its cells that lie on their side, float64 (N,) on the CPU.

    Of all lines in ``angles`` directions the best; a map that is all one answer needs no line and gets 1. A constant guess gets the share of
    the larger part: the least that any line reaches.
    """
    expect(inside.ndim == 3 and inside.shape[1] == inside.shape[2], "inside", "maps (N, side, side)", f"the shape {tuple(inside.shape)}")
    expect(inside.dtype == torch.bool, "inside", "dtype torch.bool", inside.dtype)
    expect_count(angles, "angles", 2)
    side = inside.shape[1]
    place = torch.linspace(-1, 1, side, dtype=torch.float64, device="cpu")
    cells = inside.flatten(1).cpu()
    most = torch.maximum(cells.sum(1), (~cells).sum(1))
    for angle in torch.arange(angles, dtype=torch.float64, device="cpu") * math.pi / angles:
        height, order = (place[None, :] * angle.cos() + place[:, None] * angle.sin()).flatten().sort()
        below = cells[:, order].cumsum(1)  # how many are inside below a line after each cell
        total, count = below[:, -1:], torch.arange(1, side**2 + 1, device="cpu")
        agree = torch.maximum(below + (side**2 - count) - (total - below), (count - below) + (total - below))
        cut = torch.cat([height.diff() > 1e-9, torch.ones(1, dtype=torch.bool, device="cpu")])  # a line can't part cells of one height
        most = torch.maximum(most, agree[:, cut].amax(1))
    return most.cpu().double() / side**2


def random_orthogonal(count: int, inputs: int, generator: torch.Generator) -> Tensor:
    """``count`` random directions in ``inputs`` dimensions, each of length 1, at right angles to each other: (count, inputs) float64, where ``generator`` lives."""
    _expect_room(count, inputs)
    return torch.linalg.qr(torch.randn(inputs, count, generator=generator, dtype=torch.float64, device="cpu"))[0].T


def aligned(gradient: Tensor, count: int) -> Tensor:
    """``count`` directions of length 1 at right angles to each other, each with the product |gradient| / sqrt(count) with ``gradient`` (D,).

    Larger products are impossible for so many: the squares of the products of orthogonal directions add up to at most |gradient|^2. The
    gradient-aligned construction of Tramèr et al. 2017 (section 3.1): a rotation that takes (1, ..., 1, 0, ..., 0) / sqrt(count) to the gradient's direction takes the
    first axes to the answer; here a reflection. Returns (count, D).
    """
    _expect_gradient(gradient)
    _expect_room(count, len(gradient))
    start = torch.zeros_like(gradient)
    start[:count] = count**-0.5
    mirror = start - gradient / torch.linalg.vector_norm(gradient)
    axes = torch.eye(count, len(gradient), dtype=gradient.dtype, device=gradient.device)
    length = torch.linalg.vector_norm(mirror)
    if length < 1e-6:  # the gradient lies there already
        return axes
    mirror = mirror / length
    return axes - 2 * (axes @ mirror)[:, None] * mirror


def aligned_signs(gradient: Tensor, count: int) -> Tensor:
    """``count`` (1, 4, 16, 64, ...) changes of max-norm 1 at right angles to each other, for steps under the max-norm: (count, D).

    Each has nearly the product |gradient|_1 / sqrt(count): the sign of the gradient times a row of a regular Hadamard matrix (+1 and -1, rows
    orthogonal, each with the sum sqrt(count)), spread over the pixels in groups of equal number whose shares of |gradient|_1 are nearly equal. Pixels left over after
    dealing equally, those of smallest gradient, stay 0. After lemma 6 of Tramèr et al. 2018 (Ensemble adversarial training).
    """
    _expect_gradient(gradient)
    _expect_room(count, len(gradient))
    matrix = torch.ones(1, 1, dtype=gradient.dtype, device=gradient.device)
    four = 1 - 2 * torch.eye(4, dtype=gradient.dtype, device=gradient.device)
    while len(matrix) < count:
        matrix = torch.kron(matrix, four)
    expect(len(matrix) == count, "count", "1, 4, 16, 64, … (a power of 4)", count)
    dealt = gradient.abs().argsort(descending=True)[: len(gradient) // count * count].view(-1, count)
    dealt[1::2] = dealt[1::2].flip(1)  # to and fro, so that the groups' shares come out even
    signs = torch.where(gradient < 0, -1, 1).to(gradient)  # 0 counts as +1 here: orthogonal directions need every pixel
    found = torch.zeros(count, len(gradient), dtype=gradient.dtype, device=gradient.device)
    for group in range(count):
        found[:, dealt[:, group]] = matrix[:, group, None] * signs[dealt[:, group]]
    return found


def adversarial_directions(
    models: Sequence[Model], x: Tensor, y: Tensor, gradient: Tensor, *, eps: float, counts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256),
    directions: Callable[[Tensor, int], Tensor] = aligned,
) -> Tensor:
    """How many orthogonal directions of length ``eps`` lead from each of ``x`` (N, ...) to a wrong answer: (models, N) int64.

    For each picture and each of ``counts`` the ``directions(gradient, count)`` are tried on ``models[0]``, whose ``gradient`` (N, ...) it is; the first
    row says how many of them fool it where most do, the estimate of the dimension of its adversarial subspace (Tramèr et al. 2017). The
    other rows: how many of these fool each other model as well. ``y`` (N,): the right answers.
    """
    expect(len(models) > 0, "models", "at least one", "none")
    expect(gradient.shape == x.shape, "gradient", f"the shape {tuple(x.shape)}", f"the shape {tuple(gradient.shape)}")
    expect_labels(y, None, len(x), "y")
    expect_positive(eps, "eps")
    expect(len(counts) > 0, "counts", "at least one number of directions", counts)
    found = torch.zeros(len(models), len(x), dtype=torch.int64, device="cpu")
    for i, (one, slope) in enumerate(zip(x, gradient)):
        for count in counts:
            tried = one + eps * directions(slope.flatten(), count).view(count, *one.shape)
            fooled = answers(models[0], tried) != y[i]
            if fooled.sum() > found[0, i]:
                other = [(answers(model, tried[fooled]) != y[i]).sum().item() for model in models[1:]]
                found[:, i] = torch.tensor([fooled.sum().item(), *other], device="cpu")
    return found


def _expect_gradient(gradient: Tensor) -> None:
    expect(gradient.ndim == 1, "gradient", "the shape (D,)", f"the shape {tuple(gradient.shape)}")
    expect(bool(gradient.isfinite().all()) and bool((gradient != 0).any()), "gradient", "finite numbers, not all 0", "something else")


def _expect_room(count: int, inputs: int) -> None:
    expect_count(count, "count")
    expect(count <= inputs, "count", f"at most {inputs}, the dimensions there are", count)
