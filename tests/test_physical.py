"""The camera: geometry, light, blur and JPEG against closed forms and a real codec; the destruction rate against a count."""
from __future__ import annotations

import math

import pytest
import torch
from torchvision.io import decode_jpeg, encode_jpeg
from torchvision.transforms.functional import perspective

from course_utils.attacks import Camera, Destruction, destruction_rate, jpeg
from course_utils.attacks.physical import _blurred, _sampled, _seen_from, homography
from course_utils.data import load

DOUBLE = torch.float64
STILL = {"perspective": 0, "brightness": 0, "contrast": 0, "shade": 0, "blur": 0, "noise": 0, "quality": None}


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6, channels: int = 1, side: int = 12) -> torch.Tensor:
    """Smooth pictures, as a lens could see them."""
    rough = torch.rand(count, channels, 4, 4, generator=stream(1), dtype=DOUBLE)
    return torch.nn.functional.interpolate(rough, side, mode="bicubic").clamp(0, 1)


# ---- geometry ----------------------------------------------------------------------------------------


def test_a_homography_takes_four_points_to_four_points():
    before = torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]], dtype=DOUBLE)
    after = before + 0.3 * torch.rand(5, 4, 2, generator=stream(), dtype=DOUBLE)
    moved = torch.cat([before, torch.ones(4, 1, dtype=DOUBLE)], 1) @ homography(before, after).transpose(1, 2)
    torch.testing.assert_close(moved[..., :2] / moved[..., 2:], after)
    torch.testing.assert_close(homography(before, before), torch.eye(3, dtype=DOUBLE))


def test_corners_that_stay_change_nothing_and_a_shift_is_a_shift():
    x = pictures()
    torch.testing.assert_close(_seen_from(x, torch.zeros(6, 4, 2, dtype=DOUBLE)), x)
    right = torch.zeros(6, 4, 2, dtype=DOUBLE)
    right[..., 0] = 2 / 12  # by two of twelve pixels
    seen = _seen_from(x, right)
    torch.testing.assert_close(seen[..., 2:], x[..., :-2])
    torch.testing.assert_close(seen[..., 0], x[..., 0])  # the edge goes on


def test_perspective_is_torchvisions_inside_the_picture():
    x = pictures(1, 3, 32)
    moved = torch.tensor([[0.1, 0.05], [-0.1, 0.0], [0.05, -0.1], [-0.03, -0.06]], dtype=DOUBLE)
    place = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]], dtype=DOUBLE)
    order = [0, 1, 3, 2]  # torchvision goes round; its points are pixels
    start, end = ((32 * points)[order] for points in (place, place + moved))
    wanted = perspective(x, start.tolist(), end.tolist())
    inside = (slice(None), slice(None), slice(5, 27), slice(5, 27))
    torch.testing.assert_close(_seen_from(x, moved[None])[inside], wanted[inside], atol=2e-3, rtol=0)


# ---- light, blur, noise ------------------------------------------------------------------------------


def test_a_camera_that_does_nothing_returns_the_picture():
    x = pictures()
    torch.testing.assert_close(Camera(**STILL)(x, stream()), x)


@pytest.mark.parametrize("setting, most", [("brightness", 0.1), ("contrast", 0.4), ("shade", 0.2)])
def test_light_is_within_its_bounds_and_different_for_each_picture(setting, most):
    x = torch.tensor([0.3, 0.5, 0.7], dtype=DOUBLE)[None, None, None].expand(400, 1, 2, 3)
    seen = Camera(**{**STILL, setting: most})(x, stream())
    left, middle, right = (seen[:, 0, 0, i] - x[:, 0, 0, i] for i in range(3))
    if setting == "brightness":  # the same for all pixels
        torch.testing.assert_close(left, right)
        reach = middle
    elif setting == "contrast":  # none at the middle grey
        assert middle.abs().max() < 1e-12
        torch.testing.assert_close(left, -right)
        reach = right / 0.2
    else:
        torch.testing.assert_close(left, -right)
        assert middle.abs().max() < 1e-12
        reach = 2 * right
    assert -most <= reach.min() < -0.95 * most and 0.95 * most < reach.max() <= most and abs(reach.mean()) < 0.1 * most


def test_blur_is_a_gaussian_of_its_own_width_for_each_picture():
    x = torch.zeros(3, 2, 31, 31, dtype=DOUBLE)
    x[:, :, 15, 15] = 1
    sigma = torch.tensor([0.0, 1.0, 2.5], dtype=DOUBLE)
    seen, place = _blurred(x, sigma, 2.5), torch.arange(31, dtype=DOUBLE) - 15
    torch.testing.assert_close(seen.sum((2, 3)), torch.ones(3, 2, dtype=DOUBLE))
    spread = (seen.sum(2) * place.square()).sum(2).sqrt()
    torch.testing.assert_close(spread, sigma[:, None].expand(3, 2), rtol=0.03, atol=1e-6)
    torch.testing.assert_close(seen, seen.transpose(2, 3))
    flat = torch.full((1, 1, 9, 9), 0.4, dtype=DOUBLE)
    torch.testing.assert_close(_blurred(flat, torch.tensor([2.0], dtype=DOUBLE), 2.0), flat)


def test_noise_is_normal_and_of_up_to_its_size():
    x = torch.full((200, 1, 20, 20), 0.5, dtype=DOUBLE)
    change = Camera(**{**STILL, "noise": 0.1})(x, stream()) - x
    size = change.flatten(1).std(1)
    assert size.max() < 0.11 and size.max() > 0.09 and size.min() < 0.01
    scaled = change[size > 0.02] / size[size > 0.02].view(-1, 1, 1, 1)
    assert abs((scaled.abs() < 1).double().mean() - 0.683) < 0.01 and abs(scaled.mean()) < 0.01


# ---- JPEG --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, near", [("digits", 0.0015), ("faces", 0.012)])
@pytest.mark.parametrize("quality", [20, 50, 90])
def test_jpeg_is_what_a_real_codec_leaves(name, near, quality):
    x = load(name, split="test").images[:6, :, :27, :25]  # neither 8 nor 2 divides it
    bytes_ = (255 * x).round().to(torch.uint8)
    real = torch.stack([decode_jpeg(encode_jpeg(one, quality=quality)) for one in bytes_]).float() / 255
    ours = jpeg(bytes_.float() / 255, quality)
    assert (ours - real).abs().mean() < near
    assert (ours - real).abs().mean() < 0.35 * (real - x).abs().mean()


def test_a_lower_quality_leaves_less_and_a_flat_picture_stays_flat():
    x = load("faces", split="test").images[:6]
    lost = [(jpeg(x, quality) - x).abs().mean().item() for quality in (95, 60, 20, 5)]
    assert lost == sorted(lost) and lost[0] < 0.03
    flat = torch.full((1, 1, 11, 13), 0.4)
    assert (jpeg(flat, 90) - flat).abs().max() < 0.01
    grey = jpeg(torch.full((1, 3, 16, 16), 0.5), 75)
    assert (grey.amax(1) - grey.amin(1)).max() < 1e-5  # no colour comes in


# ---- the camera as a whole ---------------------------------------------------------------------------


@pytest.mark.parametrize("channels, side", [(1, 28), (3, 32), (1, 13)])
def test_photographs_are_pictures_and_repeat_in_whatever_parts_they_are_taken(channels, side):
    camera, x = Camera(), pictures(7, channels, side)
    whole, parts = camera(x, stream(4)), stream(4)
    assert whole.shape == x.shape and whole.dtype == x.dtype and whole.min() >= 0 and whole.max() <= 1
    torch.testing.assert_close(torch.cat([camera(x[:3], parts), camera(x[3:], parts)]), whole, rtol=0, atol=1e-12)
    assert not torch.allclose(camera(x, stream(5)), whole)
    twice = camera(x[:1].expand(2, -1, -1, -1), stream(4))
    assert not torch.allclose(twice[0], twice[1])


def test_without_a_generator_it_draws_from_the_global_stream():
    camera, x = Camera(), pictures()
    torch.manual_seed(1)
    first = camera(x)
    assert not torch.equal(first, camera(x))
    torch.manual_seed(1)
    assert torch.equal(first, camera(x))


def test_a_photograph_has_a_gradient_for_the_picture():
    x = (0.2 + 0.6 * pictures()).requires_grad_()
    gradient, = torch.autograd.grad(Camera()(x, stream()).sum(), x)
    assert gradient.isfinite().all() and (gradient[..., 3:9, 3:9] > 0.3).all()


@pytest.mark.parametrize("settings", [{"perspective": 0.5}, {"brightness": -0.1}, {"contrast": "much"}, {"blur": math.nan}, {"noise": 2}, {"quality": 0}, {"quality": 75.0}])
def test_bad_settings_of_a_camera_are_named(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}: "):
        Camera(**settings)


def test_bad_pictures_are_named():
    for x in (pictures() + 1, pictures() * math.nan, pictures()[0]):
        with pytest.raises(ValueError, match="x: "):
            Camera()(x)
    with pytest.raises(ValueError, match="x: expected pictures of 1 or 3 channels, got 2 channels"):
        jpeg(pictures(1, 2), 75)


# ---- the destruction rate ----------------------------------------------------------------------------


def grey(x):
    """Class 1 where the picture is brighter than the middle grey."""
    return torch.stack([0.5 - x.mean((1, 2, 3)), x.mean((1, 2, 3)) - 0.5], 1)


def flat(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()


#            right, fooled | right, fooled | right, not fooled | wrong from the start | right, fooled
CLEAN, ADV = flat(0.9, 0.9, 0.9, 0.2, 0.1), flat(0.4, 0.2, 0.7, 0.1, 0.55)
LABELS = torch.tensor([1, 1, 1, 1, 0])


def brighter(x, generator):
    return (x + 0.2).clamp(0, 1)


def test_the_destruction_rate_is_the_share_of_fooling_pictures_that_are_named_right_again():
    found = destruction_rate(grey, CLEAN, ADV, LABELS, brighter)  # 0.4 to 0.6: destroyed; 0.2 to 0.4 and 0.55 to 0.75: not
    assert found == Destruction(1, 3) and found.rate == pytest.approx(1 / 3)
    assert str(found) == "33.3 % destroyed (1 of 3)"
    assert destruction_rate(grey, CLEAN, ADV, LABELS, brighter, batch=2) == found
    assert destruction_rate(grey, CLEAN, ADV, LABELS, lambda x, generator: x).rate == 0
    assert destruction_rate(grey, CLEAN, ADV, LABELS, lambda x, generator: 1 - x).rate == 1


def test_draws_are_all_counted_and_repeat_from_the_generator():
    def noisy(x, generator):
        return (x + 0.4 * torch.rand(len(x), 1, 1, 1, generator=generator)).clamp(0, 1)

    many = destruction_rate(grey, CLEAN[:1], ADV[:1], LABELS[:1], noisy, draws=400, generator=stream())
    assert many.fooling == 400 and abs(many.rate - 0.75) < 0.07  # 0.4 becomes more than 0.5 for draws above 0.25
    assert destruction_rate(grey, CLEAN[:1], ADV[:1], LABELS[:1], noisy, draws=400, generator=stream()) == many


def test_without_a_fooling_picture_there_is_no_rate():
    found = destruction_rate(grey, CLEAN[:3], CLEAN[:3], LABELS[:3], brighter)
    assert found == Destruction(0, 0) and math.isnan(found.rate)


@pytest.mark.parametrize("change, named", [
    ({"x": 2 * CLEAN}, "x: "), ({"x_adv": ADV[:2]}, "x_adv: "), ({"x_adv": ADV + 1}, "x_adv: "), ({"y": LABELS[:2]}, "y: "),
    ({"y": LABELS + 5}, "y: "), ({"draws": 0}, "draws: "), ({"batch": 0}, "batch: ")])
def test_bad_input_of_the_destruction_rate_is_named(change, named):
    arguments = {"x": CLEAN, "x_adv": ADV, "y": LABELS, **change}
    with pytest.raises(ValueError, match=named):
        destruction_rate(grey, arguments.pop("x"), arguments.pop("x_adv"), arguments.pop("y"), brighter, **arguments)


def test_without_a_generator_every_destruction_rate_takes_photographs_of_its_own():
    drawn = []

    def noted(x, generator):
        drawn.append(torch.rand(3, generator=generator))
        return x

    torch.manual_seed(1)
    for _ in range(2):
        destruction_rate(grey, CLEAN, ADV, LABELS, noted)
    torch.manual_seed(1)
    destruction_rate(grey, CLEAN, ADV, LABELS, noted)
    assert not torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("side", [(8, 8), (9, 13)])
def test_points_beyond_the_edge_are_the_edges_where_a_device_has_no_such_padding(side):
    x = torch.rand(2, 3, *side, generator=stream(), dtype=DOUBLE, requires_grad=True)
    points = (3 * torch.rand(2, *side, 2, generator=stream(1), dtype=DOUBLE) - 1.5).requires_grad_()
    seen = [_sampled(x, points, border) for border in (True, False)]
    torch.testing.assert_close(*seen, rtol=0, atol=1e-12)
    weights = torch.rand(seen[0].shape, generator=stream(2), dtype=DOUBLE)
    for wanted, got in zip(*(torch.autograd.grad((weights * one).sum(), (x, points)) for one in seen)):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


def test_a_camera_takes_its_pictures_whatever_torchs_default_device_is():
    x = torch.rand(2, 3, 9, 13, generator=stream())
    jpeg.__globals__["_table"].cache_clear(), jpeg.__globals__["_colours"].cache_clear()
    torch.set_default_device("meta")
    try:
        seen = Camera()(x, stream())
    finally:
        torch.set_default_device(None)
    assert torch.equal(seen, Camera()(x, stream()))


def test_a_camera_first_used_under_inference_mode_can_be_differentiated_afterwards():
    x = torch.rand(1, 3, 8, 8, generator=stream(), dtype=torch.float64)
    for name in ("_table", "_colours", "_cosines"):
        jpeg.__globals__[name].cache_clear()
    with torch.inference_mode():
        jpeg(x, 63)
    x.requires_grad_()
    jpeg(x, 63).sum().backward()
    assert x.grad.isfinite().all()
