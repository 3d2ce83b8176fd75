"""From the screen through a printer and a camera and back: what is left of an attack (Kurakin et al. 2016, section 3)."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.attacks.call import Model, answers, borrowed
from course_utils.validate import expect, expect_count, expect_generator, expect_image_shape, expect_images, expect_labels

# The tables of the JPEG standard (ITU T.81, annex K.1), for brightness and for colour.
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *[99] * 32,
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@dataclass(frozen=True)
class Camera:
    """A printed picture photographed by hand: perspective, light, blur, noise, JPEG, in this order, drawn for each picture.

    perspective   each corner lies off its place by up to this share of the side, in both directions
    brightness    the light adds up to so much, or takes it away
    contrast      bright and dark lie up to this share nearer together or further apart
    shade         the light is brighter on one side than on the other by up to so much
    blur          standard deviation of the lens's blur, in pixels, from 0 to this
    noise         standard deviation of the sensor's noise, from 0 to this
    quality       of the JPEG that is stored, from 1 to 100; None: stored as it is

    ``camera(x, generator)`` takes pictures (N, C, H, W) in [0, 1] to pictures like them, in [0, 1], and can be differentiated
    (rounding, of JPEG's coefficients, has the gradient of no rounding). ``generator`` is on the CPU; None means torch's
    global stream. Each picture's numbers are drawn one after the other: the same generator gives the same photographs in
    whatever parts they are taken. Raises ValueError for pictures or settings that are not so; the values of pictures that
    require a gradient are not read, for an attack looks at its pictures once and a GPU would wait for that at every step.
    """

    perspective: float = 0.04
    brightness: float = 0.1
    contrast: float = 0.15
    shade: float = 0.1
    blur: float = 0.6
    noise: float = 0.03
    quality: int | None = 75

    def __post_init__(self) -> None:
        limits = {"perspective": 0.25, "brightness": 1, "contrast": 0.95, "shade": 1, "blur": 8, "noise": 1}
        for name, most in limits.items():
            value = getattr(self, name)
            expect(isinstance(value, (int, float)) and 0 <= value <= most, name, f"a number from 0 to {most}", repr(value))
        whole = isinstance(self.quality, int) and not isinstance(self.quality, bool)
        expect(self.quality is None or whole and 1 <= self.quality <= 100, "quality", "None, or a whole number from 1 to 100", repr(self.quality))

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        expect_image_shape(x, "x")
        if not x.requires_grad:
            expect_images(x, "x")
        expect_generator(generator)
        pixels = math.prod(x.shape[1:])
        drawn = torch.rand(len(x), 13 + pixels, generator=generator, dtype=torch.float64, device="cpu")
        corners, others = drawn[:, :8], drawn[:, 8:].to(x.dtype)
        widest = (self.blur * others[:, 3]).max().item()  # on the CPU, where nobody waits for it
        light, rest, grain = others.to(x.device).split([3, 2, pixels], dim=1)
        x = _seen_from(x, self.perspective * (2 * corners - 1).view(-1, 4, 2))
        x = self._lit(x, 2 * light - 1)
        x = _blurred(x, self.blur * rest[:, 0], widest)
        normal = torch.erfinv((2 * grain - 1).clamp(-1 + 1e-6, 1 - 1e-6)) * math.sqrt(2)
        x = (x + self.noise * _each(rest[:, 1]) * normal.view_as(x)).clamp(0, 1)
        return x if self.quality is None else jpeg(x, self.quality)

    def _lit(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Contrast about the middle grey, brightness, and a shade from left to right; ``drawn`` (N, 3) in [-1, 1]."""
        ramp = torch.linspace(-0.5, 0.5, x.shape[3], dtype=x.dtype, device=x.device)
        contrast, brightness, shade = (_each(column) for column in drawn.unbind(1))
        return (1 + self.contrast * contrast) * (x - 0.5) + 0.5 + self.brightness * brightness + self.shade * shade * ramp


def _each(values: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


# ---- perspective and blur ----------------------------------------------------------------------------


def _seen_from(x: Tensor, moved: Tensor) -> Tensor:
    """``x`` with its corners (top left, top right, bottom left, bottom right) ``moved`` by (N, 4, 2) shares of the side, x then y.

    Between the pixels linear; beyond the edge the edge goes on. ``moved`` is float64 and on the CPU: not every device has it.
    """
    place = torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]], dtype=torch.float64, device="cpu")
    height, width = x.shape[2:]
    back = homography(place + 2 * moved, place)
    down, across = torch.meshgrid(*((2 * torch.arange(n, dtype=torch.float64, device="cpu") + 1) / n - 1 for n in (height, width)), indexing="ij")
    points = torch.stack([across, down, torch.ones_like(down)], dim=-1).view(-1, 3)
    from_where = points @ back.transpose(1, 2)
    from_where = (from_where[..., :2] / from_where[..., 2:]).view(len(x), height, width, 2)
    return _sampled(x, from_where.to(x.dtype).to(x.device), border=x.device.type != "mps")


def _sampled(x: Tensor, points: Tensor, border: bool) -> Tensor:
    """``x`` (N, C, H, W) at ``points`` (N, H, W, 2) in [-1, 1], linear between the pixels; beyond the edge the edge goes on.

    Without ``border``, a padding that torch lacks on Apple's GPU until 2.12, points beyond the outermost pixels' centres are
    moved there: the same up to rounding.
    """
    if not border:
        points = torch.stack([points[..., i].clamp(1 / n - 1, 1 - 1 / n) for i, n in ((0, x.shape[3]), (1, x.shape[2]))], dim=-1)
    return F.grid_sample(x, points, padding_mode="border" if border else "zeros", align_corners=False)


def homography(before: Tensor, after: Tensor) -> Tensor:
    """The matrices (N, 3, 3) that take four points ``before`` to four points ``after``, (N, 4, 2) or (4, 2), in homogeneous coordinates."""
    before, after = torch.broadcast_tensors(before, after)
    (x, y), (u, v) = before.unbind(-1), after.unbind(-1)
    one, none = torch.ones_like(x), torch.zeros_like(x)
    upper = torch.stack([x, y, one, none, none, none, -u * x, -u * y], dim=-1)
    lower = torch.stack([none, none, none, x, y, one, -v * x, -v * y], dim=-1)
    eight = torch.linalg.solve(torch.cat([upper, lower], dim=-2), torch.cat([u, v], dim=-1))
    return torch.cat([eight, torch.ones_like(eight[..., :1])], dim=-1).unflatten(-1, (3, 3))


def _blurred(x: Tensor, sigma: Tensor, widest: float) -> Tensor:
    """Each picture blurred by a Gaussian of its own ``sigma`` (N,), at most ``widest``, in pixels; beyond the edge the edge goes on."""
    reach = max(1, math.ceil(3 * widest))
    distance = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    bell = torch.exp(-distance.square() / (2 * sigma.clamp_min(1e-2)[:, None] ** 2))
    bell = (bell / bell.sum(1, keepdim=True)).repeat_interleave(x.shape[1], 0)[:, None]  # one for each picture and channel
    flat = F.pad(x, [reach] * 4, mode="replicate").flatten(0, 1)[None]
    flat = F.conv2d(flat, bell[:, :, :, None], groups=len(bell))
    return F.conv2d(flat, bell[:, :, None], groups=len(bell)).view_as(x)


# ---- JPEG --------------------------------------------------------------------------------------------


def jpeg(x: Tensor, quality: int) -> Tensor:
    """What JPEG at ``quality`` 1 to 100 leaves of pictures (N, 1 or 3, H, W) in [0, 1]: blocks of 8x8, their cosines rounded.

    As in ITU T.81 with the tables of its annex K.1, scaled by ``quality`` as libjpeg does, the colours at half the size.
    The gradient is that of no rounding at all.
    """
    channels, (height, width) = x.shape[1], x.shape[2:]
    expect(channels in (1, 3), "x", "pictures of 1 or 3 channels", f"{channels} channels")
    where = (x.dtype, x.device)
    if channels == 1:
        return _through_blocks(x, _table(_LUMA, quality, *where)).clamp(0, 1)
    to_ycc, back = _colours(*where)
    ycc = torch.einsum("oc,nchw->nohw", to_ycc, x)
    luma = _through_blocks(ycc[:, :1], _table(_LUMA, quality, *where))
    chroma = F.avg_pool2d(F.pad(ycc[:, 1:], [0, width % 2, 0, height % 2], mode="replicate"), 2)
    chroma = _through_blocks(chroma + 128 / 255, _table(_CHROMA, quality, *where)) - 128 / 255  # no colour at all is the middle, exactly
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear")[..., :height, :width]
    return torch.einsum("oc,nchw->nohw", back, torch.cat([luma, chroma], dim=1)).clamp(0, 1)


def _through_blocks(x: Tensor, table: Tensor) -> Tensor:
    """Every channel cut into blocks of 8x8, transformed, divided by ``table`` (8, 8), rounded, and put together again."""
    height, width = x.shape[2:]
    padded = F.pad(255 * x - 128, [0, -width % 8, 0, -height % 8], mode="replicate")
    blocks = padded.unfold(2, 8, 8).unfold(3, 8, 8)  # (N, C, rows, columns, 8, 8)
    wave = _cosines(x.dtype, x.device)
    coefficients = wave @ blocks @ wave.T / table
    coefficients = coefficients + (coefficients.round() - coefficients).detach()
    blocks = wave.T @ (coefficients * table) @ wave
    return (blocks.transpose(3, 4).flatten(4).flatten(2, 3)[..., :height, :width] + 128) / 255


# What JPEG knows beforehand is worked out in float64 on the CPU, and moved once to each device: an attack photographs at every step.


@lru_cache
@torch.inference_mode(False)
def _cosines(dtype: torch.dtype, device: torch.device) -> Tensor:
    """The orthonormal discrete cosine transform of 8 values, (8, 8), one frequency a row."""
    n = torch.arange(8, dtype=torch.float64, device="cpu")
    wave = torch.cos((2 * n + 1) * n[:, None] * math.pi / 16) / 2
    wave[0] /= math.sqrt(2)
    return wave.to(dtype).to(device)


@lru_cache
@torch.inference_mode(False)
def _table(standard: tuple[int, ...], quality: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """By how much each coefficient of a block is divided, (8, 8)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = torch.tensor(standard, dtype=torch.float64, device="cpu").view(8, 8)
    return ((table * scale + 50) / 100).floor().clamp(1, 255).to(dtype).to(device)


@lru_cache
@torch.inference_mode(False)
def _colours(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """From red, green and blue to brightness and two differences, (3, 3), and back."""
    to_ycc = torch.tensor(_TO_YCC, dtype=torch.float64, device="cpu")
    return tuple(matrix.to(dtype).to(device) for matrix in (to_ycc, torch.linalg.inv(to_ycc)))


# ---- what is left of an attack -----------------------------------------------------------------------


@dataclass(frozen=True)
class Destruction:
    """Of ``fooling`` attacked pictures that fooled the model, ``destroyed`` no longer do after a transformation."""

    destroyed: int
    fooling: int

    @property
    def rate(self) -> float:
        """The destruction rate, in [0, 1]; NaN when no attacked picture fooled the model."""
        return self.destroyed / self.fooling if self.fooling else math.nan

    def __str__(self) -> str:
        return f"{100 * self.rate:.1f} % destroyed ({self.destroyed} of {self.fooling})"


def destruction_rate(
    model: Model, x: Tensor, x_adv: Tensor, y: Tensor, transform: Callable[[Tensor, torch.Generator | None], Tensor], *,
    draws: int = 1, generator: torch.Generator | None = None, batch: int = 256,
) -> Destruction:
    """How often ``transform`` undoes an attack (Kurakin et al. 2016, section 3.1).

    Counted are the pictures that the model named right and, attacked, no longer did; destroyed are those of them that it
    names right again after the transformation: the sum of C(x) not-C(x_adv) C(T(x_adv)) over that of C(x) not-C(x_adv).

    x, x_adv    pictures (N, C, H, W) in [0, 1], before and after the attack;  y  their labels (N,) int64
    transform   ``transform(pictures, generator)`` -> pictures; a ``Camera``, say
    draws       transformations of each picture, all counted
    generator   on the CPU; None: other transformations at every call, by a number drawn from torch's global stream
    batch       pictures at a time: bounds the memory

    Raises ValueError, naming the argument, for anything else.
    """
    expect_images(x, "x")
    expect_images(x_adv, "x_adv")
    expect(x_adv.shape == x.shape, "x_adv", f"the shape of x, {tuple(x.shape)}", tuple(x_adv.shape))
    expect_labels(y, None, len(x), "y")
    expect_count(draws, "draws")
    expect_count(batch, "batch")
    expect_generator(generator)
    destroyed = fooling = 0
    # Drawn before the model is borrowed, which puts the global stream back where it was.
    fresh = torch.Generator().manual_seed(torch.randint(2**62, (), device="cpu").item()) if generator is None else None
    with borrowed(model, fresh, y=y) as lent, torch.no_grad():
        right = lambda pictures, y: answers(lent, pictures).argmax(1) == y  # noqa: E731
        for clean, adv, labels in zip(x.split(batch), x_adv.split(batch), y.split(batch)):
            counted = right(clean, labels) & ~right(adv, labels)
            for _ in range(draws if counted.any() else 0):
                destroyed += right(transform(adv[counted], generator), labels[counted]).sum().item()
                fooling += counted.sum().item()
    return Destruction(destroyed, fooling)
