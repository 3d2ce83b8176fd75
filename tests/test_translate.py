"""pix2pix: the objective against its closed form, the U-Net, recolouring, and a PatchGAN whose patches have the computed size."""
from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from course_utils.data.drawn import grey
from course_utils.gan import MINIMAX, NON_SATURATING, gan_step, regression_step, translate_step
from course_utils.models import Colouring, PatchCritic, UNet, footprint, measured_receptive_field, receptive_field, recolour

# ---------------------------------------------------------------- patches


@pytest.mark.parametrize("layers, side, size", [(0, 1, 5), (1, 16, 40), (2, 34, 70), (3, 70, 120)])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.Identity])
def test_the_patch_has_the_papers_size_by_the_formula_and_by_gradients(layers, side, size, norm):
    critic = PatchCritic(3, 4, layers, norm)
    assert receptive_field(critic) == side == measured_receptive_field(critic, size)


def test_the_papers_critic_is_c64_c128_c256_c512():
    convolutions = [layer for layer in PatchCritic(6).modules() if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0]) for c in convolutions] == [
        (6, 64, 4, 2), (64, 128, 4, 2), (128, 256, 4, 2), (256, 512, 4, 1), (512, 1, 4, 1)]
    norms = [type(layer).__name__ for layer in PatchCritic(6).net]
    assert norms.count("BatchNorm2d") == 3 and norms[1] == "LeakyReLU" and norms[-1] == "Conv2d"


@pytest.mark.parametrize("sizes, side", [
    ([(3, 1, 1)], 3), ([(3, 1, 1), (3, 1, 1)], 5), ([(3, 2, 1), (3, 1, 1)], 7), ([(5, 3, 1), (2, 1, 2)], 11), ([(1, 1, 1)], 1)])
def test_the_formula_on_chains_counted_by_hand(sizes, side):
    """Size, stride and dilation of each convolution. (3, stride 2) then 3: outputs 0, 1, 2 begin at pixels 0, 2, 4, so 0 to 6."""
    net = nn.Sequential(*(nn.Conv2d(1, 1, size, stride=stride, dilation=gap) for size, stride, gap in sizes))
    assert receptive_field(net) == side


def test_what_has_no_square_patch_is_refused():
    with pytest.raises(ValueError, match="at least one nn.Conv2d, got ReLU"):
        receptive_field(nn.ReLU())
    with pytest.raises(ValueError, match="square convolutions"):
        receptive_field(nn.Conv2d(1, 1, (3, 1)))


def test_a_picture_too_small_for_the_patch_is_named():
    with pytest.raises(ValueError, match="size: expected a picture larger than the patch, got 34"):
        measured_receptive_field(PatchCritic(1, 2, 2), 34)


def test_instance_norm_shows_every_patch_the_whole_picture():
    assert (footprint(PatchCritic(1, 4, 1, nn.InstanceNorm2d), 40) > 0).all()


def test_measuring_leaves_the_critic_and_the_random_state_alone():
    critic = PatchCritic(2, 4, 1).train()
    before, stream = [v.clone() for v in critic.state_dict().values()], torch.random.get_rng_state()
    assert footprint(critic, 40).shape == (40, 40)
    assert critic.training and next(critic.parameters()).dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(before, critic.state_dict().values()))
    assert torch.equal(stream, torch.random.get_rng_state()) and all(p.grad is None for p in critic.parameters())


def test_a_changed_pixel_moves_the_patches_that_hold_it_and_no_others():
    critic = PatchCritic(1, 4, 1, nn.Identity).eval()
    x = torch.rand(1, 1, 32, 32)
    changed = x.clone()
    changed[0, 0, 0, 0] = 1 - changed[0, 0, 0, 0].round()
    moved = (critic.judge(x) != critic.judge(changed))[0]
    assert moved[0, 0] and 0 < moved.sum() < moved.numel() / 8 and not moved[4:].any() and not moved[:, 4:].any()


def test_the_row_of_logits_is_the_map():
    critic = PatchCritic(4, 4, 1)
    a, b = torch.rand(2, 1, 32, 32), torch.rand(2, 3, 32, 32)
    critic.eval()
    judged = critic.judge(a, b)
    assert judged.shape == (2, 14, 14) and torch.equal(critic(a, b), judged.flatten())
    assert torch.equal(judged, critic.judge(torch.cat([a, b], dim=1)))
    assert (critic.judge(1 - a, b) != judged).any()


def test_smallest_picture_as_documented():
    assert PatchCritic(1, 2, 2, nn.Identity)(torch.rand(3, 1, 12, 12)).shape == (3,)
    with pytest.raises(RuntimeError):
        PatchCritic(1, 2, 2, nn.Identity)(torch.rand(3, 1, 11, 11))


@pytest.mark.parametrize("options", [dict(channels=0), dict(channels=1, width=0), dict(channels=1, layers=-1), dict(channels=1, layers=1.5)])
def test_impossible_critics_are_refused(options):
    with pytest.raises(ValueError, match="expected a whole number"):
        PatchCritic(**options)


class Line(nn.Module):
    """z to a picture of one brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (self.weight * z).sigmoid()[:, :, None, None].expand(-1, 1, 8, 8)


def test_the_plain_gan_step_takes_patches_as_samples():
    G, D = Line(), PatchCritic(1, 4, 1, nn.Identity)
    opt_g, opt_d = (torch.optim.SGD(net.parameters(), 0.01) for net in (G, D))
    x, z = torch.rand(3, 1, 8, 8), torch.randn(3, 1)
    expected = softplus(-D(x)).mean() + softplus(D(G(z))).mean()
    d_loss, _ = gan_step(G, D, opt_g, opt_d, lambda: x, lambda: z)
    torch.testing.assert_close(d_loss, expected.detach())

# ---------------------------------------------------------------- the U-Net, and colour


@pytest.mark.parametrize("depth, width", [(1, 4), (3, 4), (5, 2)])
def test_unet_shapes_and_ranges(depth, width):
    net = UNet(2, 3, width, depth)
    y = net(torch.rand(4, 2, 32, 64))
    assert y.shape == (4, 3, 32, 64) and 0 <= y.min() and y.max() <= 1


def test_unet_names_pictures_that_it_can_not_halve():
    with pytest.raises(ValueError, match=r"x: expected sides that 16 divides, got the shape \(2, 1, 28, 28\)"):
        UNet(1, 3, 2)(torch.rand(2, 1, 28, 28))
    for options in (dict(width=0), dict(depth=0), dict(dropout=1.0), dict(dropout=-0.1)):
        with pytest.raises(ValueError, match="expected"):
            UNet(1, 1, **options)


@pytest.mark.parametrize("level", [0, 1])
def test_each_level_of_the_unet_has_its_bridge(level):
    """With everything further in cut out, what a level gives still comes through."""
    torch.manual_seed(0)
    net, x = UNet(1, 1, 4, depth=3).eval(), torch.rand(1, 1, 16, 16)
    for deeper in net.down[level + 1 :]:
        deeper.register_forward_hook(lambda _layer, _inputs, out: torch.zeros_like(out))
    before = net(x)
    net.down[level].register_forward_hook(lambda _layer, _inputs, out: out + 1)
    assert (net(x) - before).abs().max() > 1e-7


def test_dropout_is_the_only_noise_and_in_train_mode_only():
    x = torch.rand(2, 1, 16, 16)
    for dropout, differs in ((0.5, True), (0.0, False)):
        net = UNet(1, 1, 8, 3, dropout).train()
        assert torch.equal(net(x), net(x)) is not differs
        net.eval()
        assert torch.equal(net(x), net(x))


def test_recolour_takes_colour_from_one_and_brightness_from_the_other():
    torch.manual_seed(0)
    picture = 0.4 + 0.2 * torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(recolour(picture, grey(picture)), picture)
    luma = 0.4 + 0.2 * torch.rand(2, 1, 8, 8)
    painted = recolour(picture, luma)
    torch.testing.assert_close(grey(painted), luma)
    torch.testing.assert_close(painted - grey(painted), picture - grey(picture), atol=1e-6, rtol=0)
    assert recolour(torch.eye(3)[:, :, None, None], torch.ones(3, 1, 1, 1)).max() <= 1


def test_colouring_keeps_the_brightness():
    torch.manual_seed(0)
    net, given = Colouring(4, depth=2), 0.3 + 0.4 * torch.rand(2, 1, 16, 16)
    painted = net(given)
    assert painted.shape == (2, 3, 16, 16)
    torch.testing.assert_close(grey(painted.detach()), given)

# ---------------------------------------------------------------- the step


class Pixel(nn.Module):
    """G(a) = weight * a, pixel by pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7))

    def forward(self, a: torch.Tensor) -> torch.Tensor:
        return self.weight * a


class Pairs(nn.Module):
    """D(a, b) = u a + v b + w a b, a logit for each pixel: without the product it could not ask whether b fits a."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.3, -0.5, 0.8]))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        u, v, w = self.weights
        return (u * a + v * b + w * a * b).flatten()


@pytest.mark.parametrize("weight", [0.0, 3.0])
@pytest.mark.parametrize("loss", [NON_SATURATING, MINIMAX])
def test_translate_step_is_the_objective_term_by_term(weight, loss):
    G, D = Pixel(), Pairs()
    a, b = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    fake = G(a)
    value = loss.real(D(a, b)).mean() + loss.fake(D(a, fake.detach())).mean()
    d_weights = D.weights - 0.1 * torch.autograd.grad(value, D.weights)[0]
    after = Pairs()
    after.weights.data.copy_(d_weights.detach())
    fooled, distance = loss.generator(after(a, fake)).mean(), (b - fake).abs().mean()
    g_weight = G.weight - 0.1 * torch.autograd.grad(fooled + weight * distance, G.weight)[0]

    opt_g, opt_d = (torch.optim.SGD(net.parameters(), 0.1) for net in (G, D))
    got = translate_step(G, D, opt_g, opt_d, a, b, weight=weight, loss=loss)
    torch.testing.assert_close(got, tuple(v.detach() for v in (value, fooled, distance)))
    torch.testing.assert_close((G.weight.detach(), D.weights.detach()), (g_weight.detach(), d_weights.detach()))
    assert all(p.requires_grad for p in D.parameters()) and not any(v.requires_grad for v in got)


def test_regression_step_is_l1_alone():
    G, a, b = Pixel(), torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    gradient, = torch.autograd.grad((b - G(a)).abs().mean(), G.weight)
    expected = G.weight.detach() - 0.1 * gradient
    distance = regression_step(G, torch.optim.SGD(G.parameters(), 0.1), a, b)
    torch.testing.assert_close(G.weight.detach(), expected)
    torch.testing.assert_close(distance, (b - 0.7 * a).abs().mean())


def test_bad_weight_and_shapes_change_nothing():
    G, D = Pixel(), Pairs()
    opt_g, opt_d = (torch.optim.SGD(net.parameters(), 0.1) for net in (G, D))
    a = torch.rand(2, 1, 4, 4)
    with pytest.raises(ValueError, match="weight: expected a number of at least 0, got -1"):
        translate_step(G, D, opt_g, opt_d, a, a, weight=-1)
    for call in (lambda b: translate_step(G, D, opt_g, opt_d, a, b), lambda b: regression_step(G, opt_g, a, b)):
        with pytest.raises(ValueError, match="b: expected the shape of G"):
            call(torch.rand(2, 3, 4, 4))
    assert G.weight.item() == pytest.approx(0.7) and D.weights.tolist() == pytest.approx([0.3, -0.5, 0.8])
