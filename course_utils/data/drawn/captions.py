"""English for pictures of shapes: sentences that say all four attributes, and what a sentence says.

No word stands for values of two attributes, so a sentence can be read word by word, in any order.
"""
from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.validate import expect, expect_choice

VALUES = {
    "shape": ("circle", "square", "triangle", "star"),
    "colour": ("red", "yellow", "green", "blue", "purple"),
    "size": ("small", "large"),
    "background": ("white", "pink", "grey", "black"),
}
# (colour, shape) that no training picture has; every value of both is seen in other pairs.
UNSEEN = (("red", "star"), ("yellow", "triangle"), ("green", "circle"), ("blue", "square"))

SYNONYMS = {"disc": "circle", "violet": "purple", "little": "small", "tiny": "small", "big": "large", "huge": "large", "gray": "grey"}
PATTERNS = (
    "a {size} {colour} {shape} on a {background} background",
    "a {colour} {shape} that is {size}, on {background}",
    "on a {background} background there is a {size} {colour} {shape}",
    "this {size} {shape} is {colour} and the background is {background}",
    "a {size} {shape} in {colour}, on {background}",
)
_PADDING = 0


@dataclass(frozen=True)
class Grammar:
    """Sentences made of ``patterns`` and words for ``values``; ``synonyms`` maps another word to the value it means."""

    values: dict[str, tuple[str, ...]]
    synonyms: dict[str, str]
    patterns: tuple[str, ...]

    @functools.cached_property
    def meaning(self) -> dict[str, tuple[str, str]]:
        """Word -> (attribute, value), for the words that mean something."""
        own = {value: (key, value) for key, names in self.values.items() for value in names}
        return own | {word: own[value] for word, value in self.synonyms.items()}

    @functools.cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word that a caption may have, in the order of its number in ``encode``, from 1."""
        small = {word for pattern in self.patterns for word in _words(re.sub(r"\{\w+\}", "", pattern))}
        return (*self.meaning, *sorted(small))

    @functools.cached_property
    def length(self) -> int:
        """The number of words of the longest sentence."""
        return max(len(pattern.split()) for pattern in self.patterns)

    def sentences(self, **wanted: str) -> tuple[str, ...]:
        """Every sentence for these values: ``grammar.sentences(shape="star", colour="red", size="small", background="grey")``.

        Raises ValueError, listing what there is, for an unknown value or one that is missing.
        """
        expect(wanted.keys() == self.values.keys(), "wanted", f"a value for each of {', '.join(self.values)}", ", ".join(wanted))
        for key, value in wanted.items():
            expect_choice(value, key, self.values[key])
        return _sentences(self.patterns, tuple((key, self._names(value)) for key, value in wanted.items()))

    def write(self, generator: torch.Generator, **wanted: str) -> str:
        """One of ``sentences(**wanted)`` by chance."""
        sentences = self.sentences(**wanted)
        return sentences[torch.randint(len(sentences), (), generator=generator, device=generator.device).item()]

    def parse(self, caption: str) -> dict[str, str]:
        """What ``caption`` says, attribute -> value, in the order of ``values``; attributes it doesn't mention are left out.

        Raises ValueError, naming the word and listing those there are, for an unknown word, and when an attribute is
        said twice with different values.
        """
        said: dict[str, str] = {}
        for word in self._known(caption):
            key, value = self.meaning.get(word, (None, None))
            if key:
                expect(said.get(key, value) == value, "caption", f"one {key}", f"{said.get(key)} and {value}")
                said[key] = value
        return {key: said[key] for key in self.values if key in said}

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Captions as numbers of words, (N, length) int64: places in ``vocabulary`` counted from 1, then zeros.

        Raises ValueError for an unknown word, no caption and one of more than ``length`` words.
        """
        expect(not isinstance(captions, str) and len(captions) > 0, "captions", "at least one, in a list", repr(captions))
        number = {word: i for i, word in enumerate(self.vocabulary, 1)}
        rows = [[number[word] for word in self._known(caption)] for caption in captions]
        longest = max(map(len, rows))
        expect(longest <= self.length, "captions", f"at most {self.length} words", longest)
        return torch.tensor([row + [_PADDING] * (self.length - len(row)) for row in rows], device="cpu")

    def _known(self, caption: str) -> list[str]:
        expect(isinstance(caption, str), "caption", "a sentence", repr(caption))
        words = _words(caption)
        expect(len(words) > 0, "caption", "at least one word", repr(caption))
        unknown = [word for word in words if word not in self.vocabulary]
        if unknown:
            raise ValueError(f"caption: expected words that the grammar knows ({self}), got {', '.join(map(repr, unknown))}")
        return words

    def __str__(self) -> str:
        groups = {key: [word for word, (other, _) in self.meaning.items() if other == key] for key in self.values}
        small = [word for word in self.vocabulary if word not in self.meaning]
        return "; ".join(f"{key}: {', '.join(words)}" for key, words in {**groups, "between them": small}.items())

    def _names(self, value: str) -> tuple[str, ...]:
        return (value, *(word for word, meant in self.synonyms.items() if meant == value))


@functools.cache
def _sentences(patterns: tuple[str, ...], names: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str, ...]:
    keys = [key for key, _ in names]
    chosen = [dict(zip(keys, words)) for words in itertools.product(*(words for _, words in names))]
    return tuple(pattern.format(**words) for pattern in patterns for words in chosen)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\s,.;:!?]+", text.lower())


grammar = Grammar(VALUES, SYNONYMS, PATTERNS)
