"""Readers of text that can be perturbed: words as normalised vectors, an encoder that reads from left to right, a classifier."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils.validate import expect, expect_choice, expect_count

ENCODERS = ("convolution", "lstm")
REACH = 5  # words that the convolution sees at a time


class WordVectors(nn.Module):
    """Numbers of words (B, L) int64, 0 for none, to normalised vectors (B, L, size), 0 where there is no word.

    Over the words as often as they occur, ``frequencies`` (V,), each coordinate has mean 0 and variance 1 (Miyato, Dai, Goodfellow 2016,
    equation 1). Without that a net would learn large vectors, beside which a perturbation of a fixed length is nothing.
    """

    def __init__(self, frequencies: Tensor, size: int) -> None:
        super().__init__()
        shares = isinstance(frequencies, Tensor) and frequencies.ndim == 1 and bool((frequencies >= 0).all()) and abs(frequencies.sum().item() - 1) < 1e-3
        expect(shares, "frequencies", "shares of the words (V,), together 1", frequencies)
        expect_count(size, "size")
        self.raw = nn.Parameter(torch.randn(len(frequencies), size))
        self.register_buffer("frequencies", frequencies.float())

    def table(self) -> Tensor:
        """The normalised vectors of all words, (V, size)."""
        share = self.frequencies[:, None]
        mean = (share * self.raw).sum(0)
        variance = (share * (self.raw - mean).square()).sum(0)
        return (self.raw - mean) / (variance + 1e-12).sqrt()

    def forward(self, tokens: Tensor) -> Tensor:
        expect(tokens.ndim == 2 and tokens.dtype == torch.int64, "tokens", "numbers of words (B, L) int64", f"{tuple(tokens.shape)} {tokens.dtype}")
        return F.embedding(tokens, self.table()) * (tokens != 0)[..., None]


class Reader(nn.Module):
    """Reviews (B, L) int64 to logits (B, classes): word vectors, an encoder, and a linear layer on what was read.

    ``encoder`` is 'convolution' (each word with the four before it, ReLU; the mean over all words is classified) or 'lstm' (the state after the
    last word is classified, as in the paper). Neither sees a word before it is its turn, so both can also guess the next word,
    ``next_word``, and be trained on text without labels beforehand. ``read(vectors, tokens)`` takes vectors instead of words: there a
    perturbation is added; ``tokens`` only says where a review ends.
    """

    def __init__(self, frequencies: Tensor, classes: int = 2, *, size: int = 24, width: int = 48, encoder: str = "convolution") -> None:
        super().__init__()
        expect_choice(encoder, "encoder", ENCODERS)
        expect_count(width, "width")
        self.vectors, self.encoder = WordVectors(frequencies, size), encoder
        self.body = nn.Conv1d(size, width, REACH) if encoder == "convolution" else nn.LSTM(size, width, batch_first=True)
        self.head, self.guess = nn.Linear(width, classes), nn.Linear(width, size)

    def states(self, vectors: Tensor) -> Tensor:
        """What is known after each word: (B, L, size) -> (B, L, width)."""
        if self.encoder == "lstm":
            return self.body(vectors)[0]
        return F.relu(self.body(F.pad(vectors.transpose(1, 2), (REACH - 1, 0)))).transpose(1, 2)

    def read(self, vectors: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, classes) of reviews given as ``vectors`` (B, L, size). What is added where there is no word has no effect."""
        there = (tokens != 0).to(vectors.dtype)[..., None]
        states, lengths = self.states(vectors), there.sum(1).clamp_min(1)
        if self.encoder == "lstm":
            last = (lengths.long() - 1).view(-1, 1, 1).expand(-1, 1, states.shape[2])
            return self.head(states.gather(1, last).squeeze(1))
        return self.head((states * there).sum(1) / lengths)

    def around(self, tokens: Tensor) -> Callable[[Tensor], Tensor]:
        """``read`` of these reviews as a function of their vectors alone, as attacks and ``vat_loss`` want it."""
        return lambda vectors: self.read(vectors, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.read(self.vectors(tokens), tokens)

    def next_word(self, tokens: Tensor) -> Tensor:
        """Logits (B, L - 1, V) for the word after each: how well the guessed vector fits the vector of every word."""
        states = self.states(self.vectors(tokens))[:, :-1]
        return self.guess(states) @ self.vectors.table().T


def language_loss(reader: Reader, tokens: Tensor) -> Tensor:
    """Mean cross entropy of guessing each next word of reviews (B, L); no label is read."""
    return F.cross_entropy(reader.next_word(tokens).flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)


def nearest(reader: Reader, words: tuple[str, ...], word: str, count: int = 8) -> list[tuple[str, float]]:
    """The ``count`` words whose vectors have the largest cosine with that of ``word``, and the cosines. Words never read are left out."""
    expect(word in words, "word", "a word of the vocabulary", repr(word))
    with torch.no_grad():
        table = F.normalize(reader.vectors.table(), dim=1)
        cosine = table @ table[words.index(word)]
    cosine[(reader.vectors.frequencies == 0) | (torch.arange(len(words), device=cosine.device) == words.index(word))] = -2
    found = cosine.topk(count)
    return [(words[i], c) for i, c in zip(found.indices.tolist(), found.values.tolist())]
