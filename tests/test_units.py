"""Maxout, sigmoids, the LSTM over rows and the nets of them: closed forms, what is straight and what is not, bad input."""
from __future__ import annotations

import pytest
import torch
from torch import nn

from course_utils.models.units import SATURATED, TUNED, UNITS, Centre, Maxout, RowLSTM, Sigmoid, unit_net

SHAPE = (1, 8, 6)


def test_maxout_is_the_largest_of_its_pieces():
    torch.manual_seed(0)
    layer, x = Maxout(5, 3, pieces=4), torch.randn(7, 5)
    weight, bias = layer.linear.weight.view(3, 4, 5), layer.linear.bias.view(3, 4)
    wanted = (torch.einsum("ni,upi->nup", x, weight) + bias).max(2).values
    torch.testing.assert_close(layer(x), wanted)
    assert layer(torch.randn(2, 9, 5)).shape == (2, 9, 3)


def test_maxout_is_convex_and_not_linear():
    torch.manual_seed(0)
    layer, a, b = Maxout(5, 20), torch.randn(1, 5), torch.randn(1, 5)
    bend = (layer(a) + layer(b)) / 2 - layer((a + b) / 2)
    assert (bend >= -1e-6).all() and bend.max() > 0.01


@pytest.mark.parametrize("gain", [TUNED, 1.0, SATURATED])
def test_the_sigmoid_has_the_slope_of_its_gain_in_the_middle_and_ends_at_one(gain):
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    slope, = torch.autograd.grad(Sigmoid(gain)(x), x)
    assert slope.item() == pytest.approx(gain / 2)
    assert Sigmoid(gain)(torch.tensor([-1e6, 0.0, 1e6])).tolist() == [-1, 0, 1]
    assert str(gain) in repr(Sigmoid(gain))


def test_tuned_sigmoids_are_straight_where_saturated_ones_are_flat():
    x = torch.linspace(-1, 1, 101)
    def bend(gain: float) -> float:
        y = Sigmoid(gain)(x)
        return (1 - torch.corrcoef(torch.stack([x, y]))[0, 1] ** 2).item()
    assert bend(TUNED) < 1e-3 < 0.1 < bend(SATURATED)


def test_centre_makes_rows_around_zero():
    x = torch.rand(3, 2, 4, 5)
    assert torch.equal(Centre()(x), x.view(3, 40) - 0.5)


def test_the_lstm_reads_rows_from_top_to_bottom():
    torch.manual_seed(0)
    model, x = RowLSTM((2, 8, 6), 3, width=5, rows=4).eval(), torch.rand(4, 2, 8, 6)
    strips = torch.stack([(x[:, :, i : i + 4] - 0.5).permute(0, 2, 1, 3).flatten(1) for i in (0, 4)], dim=1)  # rows, then channels, then columns
    states, _ = model.lstm(strips)
    torch.testing.assert_close(model(x), model.head(states[:, -1]))
    assert not torch.allclose(model(x), model(x.flip(2)))


def test_the_lstm_begins_by_remembering():
    torch.manual_seed(0)
    bias = (lstm := RowLSTM(SHAPE, 3, width=5).lstm).bias_ih_l0
    plain = nn.LSTM(24, 5).bias_ih_l0
    assert lstm.input_size == 24
    assert (bias[5:10] > 0.5).all() and plain.abs().max() < 0.5
    assert (bias[:5].abs() < 0.5).all() and (bias[10:].abs() < 0.5).all()


@pytest.mark.parametrize("kind", UNITS)
def test_each_net_gives_logits_and_learns(kind):
    torch.manual_seed(0)
    model, x, y = unit_net(kind, SHAPE, 3, width=20), torch.rand(30, *SHAPE), torch.arange(30) % 3
    assert model(x).shape == (30, 3)
    optimizer, loss = torch.optim.Adam(model.parameters(), 0.01), nn.functional.cross_entropy
    before = loss(model(x), y).item()
    for _ in range(40):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    assert loss(model(x), y).item() < before / 2


def test_the_kinds_have_the_units_they_are_named_after():
    found = {kind: [type(part).__name__ for part in unit_net(kind, SHAPE, 3).modules()] for kind in UNITS}
    assert {kind: [unit for unit in ("ReLU", "Maxout", "Sigmoid", "LSTM") if unit in parts] for kind, parts in found.items()} == {
        "ReLU": ["ReLU"], "maxout": ["Maxout"], "tuned sigmoid": ["Sigmoid"], "LSTM": ["LSTM"], "saturated sigmoid": ["Sigmoid"]}
    gains = {kind: {part.gain for part in unit_net(kind, SHAPE, 3).modules() if isinstance(part, Sigmoid)} for kind in UNITS}
    assert gains["tuned sigmoid"] == {TUNED} and gains["saturated sigmoid"] == {SATURATED}


@pytest.mark.parametrize("wrong, message", [
    (lambda: unit_net("GELU", SHAPE, 3), "kind: expected one of ReLU, maxout"), (lambda: unit_net("ReLU", SHAPE, 1), "classes"),
    (lambda: unit_net("ReLU", SHAPE, 3, width=0), "width"), (lambda: Maxout(0, 3), "inputs"), (lambda: Maxout(3, 0), "outputs"), (lambda: Maxout(3, 3, 1), "pieces"),
    (lambda: Sigmoid(0.0), "gain"), (lambda: RowLSTM(SHAPE, 3, rows=3), "rows: expected a divisor of the height, 8"), (lambda: RowLSTM(SHAPE, 3, rows=0), "rows")])
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
