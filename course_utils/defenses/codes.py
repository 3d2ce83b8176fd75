"""Error-correcting output codes (Dietterich and Bakiri 1995): a class is a word of bits, and a net says one bit per output."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from course_utils.validate import expect, expect_choice, expect_count

DECODERS = ("likelihood", "votes")


def codewords(classes: int, bits: int = 32) -> Tensor:
    """A word of +1 and -1 for each class, (classes, bits): rows of the Hadamard matrix, any two different in exactly half of the bits.

    Decoding can correct (bits / 2 - 1) // 2 wrong bits. ``bits`` is a power of two above ``classes``; the matrix's first row, all
    ones, is left out. Raises ValueError otherwise.
    """
    expect_count(classes, "classes", 2)
    expect_count(bits, "bits", 2)
    expect(bits & (bits - 1) == 0 and bits > classes, "bits", f"a power of two above the {classes} classes", bits)
    matrix = torch.ones(1, 1, device="cpu")
    while len(matrix) < bits:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix[1 : classes + 1]


class Decoded(nn.Module):
    """A net whose outputs are the bits of ``words`` (K, bits), with the decoding behind it: pictures -> logits (B, K).

    net     pictures (B, ...) in [0, 1] -> scores (B, bits): above 0 for +1
    words   of +1 and -1, one for each class
    decode  'likelihood': the sum over the bits of log sigmoid(bit score), so that softmax is the chance of each class when
            every bit is right independently with the chance that the net gives. 'votes': how many bits agree, less how
            many don't, each score first made +1 or -1; the class whose word is nearest. Its gradient is 0 everywhere

    Raises ValueError for words that are not so, another ``decode``, and, when called, for another number of scores.
    """

    def __init__(self, net: Callable[[Tensor], Tensor], words: Tensor, decode: str = "likelihood") -> None:
        super().__init__()
        shaped = isinstance(words, Tensor) and words.ndim == 2 and len(words) >= 2
        expect(shaped, "words", "a tensor (classes, bits)", getattr(words, "shape", type(words).__name__))
        expect(bool((words.abs() == 1).all()), "words", "+1 and -1 only", "other values")
        expect(len(words.unique(dim=0)) == len(words), "words", "a different one for each class", "two that are alike")
        expect_choice(decode, "decode", DECODERS)
        self.net, self.decode = net, decode
        self.register_buffer("words", words.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.net(x)
        expect(scores.ndim == 2 and scores.shape[1] == self.words.shape[1], "net", f"{self.words.shape[1]} scores for each picture", tuple(scores.shape))
        words = self.words.to(scores)
        if self.decode == "votes":
            return scores.sign() @ words.T
        return logsigmoid(scores) @ (words > 0).to(scores).T + logsigmoid(-scores) @ (words < 0).to(scores).T


def bits_loss(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """What trains a net whose decoding is 'likelihood': minus the log likelihood of the right word, the sum of its bits' binary cross entropies: ().

    ``model``: a ``Decoded``, or anything else whose answers (B, K) are log likelihoods.
    """
    return -model(x).gather(1, y[:, None]).mean()
