"""Nets that draw what a sentence says (after Reed et al. 2016): a reader of captions, a generator and a critic of pairs."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from course_utils.models.dcgan import DCGenerator, halvings
from course_utils.validate import expect, expect_count


class TextEncoder(nn.Module):
    """Captions as numbers of words (B, L) int64, 0 for no word, to codes (B, ``size``): the sum of the words' vectors.

    ``words`` is the number of words, which are numbered from 1. The order of the words is lost, which this course's captions
    can afford. Reed et al. read with a recurrent net that was trained beforehand; this one learns along with the critic.
    The vectors begin as N(0, 0.05). Raises ValueError for other shapes and types.
    """

    def __init__(self, words: int, size: int = 64) -> None:
        super().__init__()
        expect_count(words, "words")
        expect_count(size, "size")
        self.vectors = nn.Embedding(words + 1, size, padding_idx=0)
        with torch.no_grad():
            nn.init.normal_(self.vectors.weight, 0.0, 0.05)[0] = 0

    def forward(self, numbers: Tensor) -> Tensor:
        expect(numbers.ndim == 2 and numbers.dtype == torch.int64, "numbers", "captions (B, L) int64", f"{tuple(numbers.shape)} {numbers.dtype}")
        return self.vectors(numbers).sum(dim=1)


class TextGenerator(nn.Module):
    """z (B, ``latent``) and codes (B, ``code``) to pictures (B, *shape) in [0, 1].

    As in Reed et al.: the code goes through one layer with LeakyReLU 0.2, stands beside z, and the DCGAN's generator does the rest.
    """

    def __init__(self, latent: int, code: int, shape: Sequence[int], width: int = 16) -> None:
        super().__init__()
        expect_count(code, "code")
        self.read = nn.Sequential(nn.Linear(code, code), nn.LeakyReLU(0.2))
        self.net = DCGenerator(latent + code, shape, width)

    def forward(self, z: Tensor, code: Tensor) -> Tensor:
        return self.net(torch.cat([z, self.read(code)], dim=1))


class TextCritic(nn.Module):
    """Pictures x (B, *shape) in [0, 1] and codes t (B, ``code``) to logits (B,): is this a real picture *with its own text*?

    ``look`` gives what the critic sees in a picture, h (B, ``code``); ``match`` holds that against a text: w.h + b + h.t. One
    look serves several texts. The inner product is Miyato and Koyama's (2018); Reed et al. lay the code beside the last maps,
    which learns the same here, but in many more steps. Strided convolutions, batch norm and LeakyReLU 0.2 as in the DCGAN.
    """

    def __init__(self, code: int, shape: Sequence[int], width: int = 16) -> None:
        super().__init__()
        expect_count(code, "code")
        expect_count(width, "width")
        times, side = halvings(shape)
        maps = [shape[0], *(width * 2**i for i in range(times))]
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip(maps, maps[1:])):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)] + [nn.BatchNorm2d(outputs)] * (i > 0) + [nn.LeakyReLU(0.2)]
        self.maps = nn.Sequential(*layers, nn.Conv2d(maps[-1], code, side)).to(memory_format=torch.channels_last)
        self.real = nn.Linear(code, 1)

    def look(self, x: Tensor) -> Tensor:
        return leaky_relu(self.maps(2 * x - 1).flatten(1), 0.2)

    def match(self, seen: Tensor, code: Tensor) -> Tensor:
        return self.real(seen).flatten() + (seen * code).sum(dim=1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return self.match(self.look(x), code)
