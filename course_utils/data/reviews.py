"""Reviews of films as numbers of words: those that the package writes itself, and by download Rotten Tomatoes and IMDB.

A written review is a row of verdicts, "rather dull plot , superb music". What it says of each thing is for the most part in keeping with the
reviewer's judgement, and now and then not. There are many words for good and as many for bad. In a handful of labelled reviews most of
them never occur, or once; that *superb* and *delightful* mean the same shows only in how they keep company, in reviews without labels.
The reviews are the same on every machine, as the mails of ``data.emails`` are.
"""
from __future__ import annotations

import functools
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_utils import runtime
from course_utils.data import archive
from course_utils.validate import expect, expect_choice, expect_count

BAD, GOOD, UNLABELLED = 0, 1, -1
CLASSES = ("bad", "good")
SPLITS = ("train", "test", "unlabelled")
SIZES = {"train": 2000, "test": 1000}
NOTHING, RARE = 0, 1  # numbers that stand for no word, and for a word outside the vocabulary
FEWEST, MOST = 4, 7  # clauses of a written review
SINCERE = 0.9  # how likely a clause is in keeping with the review

POSITIVE = tuple("""good great superb delightful brilliant moving witty charming clever gripping wonderful excellent touching fresh splendid
 funny beautiful elegant tender stunning lively masterful radiant honest graceful inspired vivid warm thrilling subtle engaging joyful
 remarkable inventive sharp marvellous magical rich sincere perfect""".split())
NEGATIVE = tuple("""bad dull awful tedious boring clumsy weak silly stale lifeless terrible poor shallow tired dreadful bland ugly wooden
 cold painful messy sloppy feeble false awkward empty grating flat pointless crude forgettable dreary
 mediocre lazy vague horrible hollow thin cynical broken""".split())
THINGS = tuple("""plot story acting cast music score dialogue ending opening camera script pace editing lighting direction scenery
 costumes heroine villain hero humour sound""".split())
DEGREES = tuple("rather very quite really truly so always often".split())

ROTTEN_TOMATOES = archive.Source(
    "https://www.cs.cornell.edu/people/pabo/movie-review-data/rt-polaritydata.tar.gz",
    "sha256", "a05befe52aafda71d458d188a1c54506a998b1308613ba76bbda2e5029409ce9")
IMDB = archive.Source("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz", "md5", "7c2ac02c03563afcf9b574c7e56c153a")
_HELD_BACK = 1066  # Rotten Tomatoes has no test split of its own; a tenth, chosen once and for all


@dataclass(frozen=True, eq=False)
class Reviews:
    """Reviews as numbers of words.

    ``tokens``   int64 (N, L): the number of each word in ``words``, 0 after the end
    ``labels``   int64 (N,): 0 bad, 1 good, -1 where nobody said
    ``words``    the vocabulary; words[0] stands for no word, words[1] for all words outside it
    ``name``     what the data set is called
    """

    tokens: Tensor
    labels: Tensor
    words: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        shaped = self.tokens.ndim == 2 and self.tokens.dtype == torch.int64 and self.tokens.numel() > 0
        expect(shaped, "tokens", "numbers of words (N, L) int64", f"{tuple(self.tokens.shape)} {self.tokens.dtype}")
        low, high = self.tokens.min().item(), self.tokens.max().item()
        expect(0 <= low and high < len(self.words), "tokens", f"numbers from 0 to {len(self.words) - 1}", f"{low} to {high}")
        expect(self.labels.shape == (len(self.tokens),), "labels", f"the shape ({len(self.tokens)},)", tuple(self.labels.shape))

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"Reviews({self.name}: {len(self)} reviews of at most {self.tokens.shape[1]} words, {len(self.words)} words known)"

    def take(self, which: Tensor) -> Reviews:
        """The reviews at positions ``which`` (n,)."""
        return replace(self, tokens=self.tokens[which], labels=self.labels[which])

    def to(self, device: torch.device | str) -> Reviews:
        """The same reviews on ``device``."""
        return replace(self, tokens=self.tokens.to(device), labels=self.labels.to(device))

    def text(self, i: int) -> str:
        """Review ``i`` as it reads."""
        return " ".join(self.words[t] for t in self.tokens[i].tolist() if t != NOTHING)

    def frequencies(self) -> Tensor:
        """float32 (V,): the share of each word among all words read; no word has the share 0."""
        counts = self.tokens.flatten().bincount(minlength=len(self.words)).float()
        counts[NOTHING] = 0
        return counts / counts.sum()


def names() -> tuple[str, ...]:
    """The sets that ``reviews`` knows."""
    return tuple(_LOADERS)


def reviews(name: str = "written", split: str = "train", *, length: int | None = None, vocabulary: int = 10_000) -> Reviews:
    """The reviews of a set, on the CPU.

    name        'written' (2,000 and 1,000, no network), 'rotten_tomatoes' (9,596 and 1,066 sentences) or 'imdb' (25,000 and 25,000)
    split       'train' or 'test'; 'unlabelled': reviews whose labels nobody may read, -1 throughout: IMDB has 50,000 more of them, in the
                other sets they are those of 'train'
    length      words of a review that are kept, its last ones, as the paper does; None for 32 (written), 48 and 200
    vocabulary  how many of the commonest words of 'train' are known in the downloaded sets; the rest become words[1]

    Raises ValueError, listing the names, for an unknown name or split; RuntimeError, saying what to put where by hand, when a download
    fails; OSError when the folder can't be written or is full.
    """
    expect_choice(name, "name", names())
    expect_choice(split, "split", SPLITS)
    expect_count(vocabulary, "vocabulary")
    loader, usual = _LOADERS[name]
    length = usual if length is None else length
    expect_count(length, "length")
    texts, labels = loader(split)
    words = _vocabulary(name, vocabulary)
    return Reviews(_numbered(texts, words, length), torch.tensor(labels, dtype=torch.int64, device="cpu"), words, name)


@functools.cache
def _vocabulary(name: str, size: int) -> tuple[str, ...]:
    """No word, rare words, and the ``size`` commonest words of the training split, the commonest first."""
    counts = Counter(word for text in _LOADERS[name][0]("train")[0] for word in _split(text))
    return ("", "<rare>", *(word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:size]))


def _split(text: str) -> list[str]:
    """Words in small letters, and punctuation marks by themselves."""
    return re.findall(r"[a-z0-9]+(?:['-][a-z0-9]+)*|[^\sa-z0-9]", text.lower().replace("<br />", " "))


def _numbered(texts: Iterable[str], words: tuple[str, ...], length: int) -> Tensor:
    number = {word: i for i, word in enumerate(words)}
    rows = [[number.get(word, RARE) for word in _split(text)][-length:] for text in texts]
    tokens = torch.zeros(len(rows), max(1, max(map(len, rows))), dtype=torch.int64, device="cpu")
    for row, kept in zip(tokens, rows):
        row[: len(kept)] = torch.tensor(kept, dtype=torch.int64, device="cpu")
    return tokens


# ---- written by the package --------------------------------------------------------------------------


@functools.cache
def _written(split: str) -> tuple[tuple[str, ...], list[int]]:
    hidden, split = split == "unlabelled", "train" if split == "unlabelled" else split
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence([len(POSITIVE), tuple(SIZES).index(split)])))
    labels = [i % 2 for i in range(SIZES[split])]
    texts = tuple(_review(stream, label) for label in labels)
    return texts, [UNLABELLED] * len(labels) if hidden else labels


def _review(stream: np.random.Generator, label: int) -> str:
    def one(words: tuple[str, ...]) -> str:
        return words[int(stream.random() * len(words))]

    clauses = []
    for _ in range(FEWEST + int(stream.random() * (MOST - FEWEST + 1))):
        says = label if stream.random() < SINCERE else 1 - label
        degree = f"{one(DEGREES)} " if stream.random() < 0.4 else ""
        clauses.append(f"{degree}{one(POSITIVE if says == GOOD else NEGATIVE)} {one(THINGS)}")
    return " , ".join(clauses)


# ---- downloaded --------------------------------------------------------------------------------------


def _rotten_tomatoes(split: str) -> tuple[tuple[str, ...], list[int]]:
    """From the folder ``<data_dir>/rotten_tomatoes`` where it lies, else from the archive."""
    files = {label: f"rt-polarity.{end}" for label, end in ((BAD, "neg"), (GOOD, "pos"))}
    folder = runtime.data_dir() / "rotten_tomatoes"
    if all((folder / file).is_file() for file in files.values()):
        lines = {label: (folder / file).read_bytes() for label, file in files.items()}
    else:
        otherwise = f"\nor the two files {' and '.join(files.values())} into {folder}"
        path = archive.fetch(ROTTEN_TOMATOES, runtime.data_dir() / "rt-polaritydata.tar.gz", otherwise)
        with tarfile.open(path) as tar:
            lines = {label: tar.extractfile(f"rt-polaritydata/{file}").read() for label, file in files.items()}
    both = [(line.decode("latin-1"), label) for label, text in lines.items() for line in text.splitlines() if line.strip()]
    order = np.random.Generator(np.random.PCG64(0)).random(len(both)).argsort(kind="stable")
    chosen = order[:_HELD_BACK] if split == "test" else order[_HELD_BACK:]
    return tuple(both[i][0] for i in chosen), [UNLABELLED if split == "unlabelled" else both[i][1] for i in chosen]


@functools.cache
def _imdb(split: str) -> tuple[tuple[str, ...], list[int]]:
    path = archive.fetch(IMDB, runtime.data_dir() / "aclImdb_v1.tar.gz")
    kinds = {"unsup": UNLABELLED} if split == "unlabelled" else {"neg": BAD, "pos": GOOD}
    part, found = "test" if split == "test" else "train", []
    with tarfile.open(path) as tar:
        for member in tar:
            pieces = Path(member.name).parts
            if len(pieces) == 4 and pieces[1] == part and pieces[2] in kinds and member.isfile():
                found.append((member.name, tar.extractfile(member).read().decode("utf-8"), kinds[pieces[2]]))
    found.sort()
    return tuple(text for _, text, _ in found), [label for _, _, label in found]


_LOADERS: dict[str, tuple[Callable[[str], tuple[tuple[str, ...], list[int]]], int]] = {
    "written": (_written, 32), "rotten_tomatoes": (_rotten_tomatoes, 48), "imdb": (_imdb, 200),
}
