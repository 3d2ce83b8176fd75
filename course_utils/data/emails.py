"""E-mails that the package writes itself: wanted ones and spam, from one vocabulary with two sets of chances.

Every word of a mail is drawn by itself. Words of the office are likely in wanted mails, words of the market in spam, small
words in both, and each kind turns up now and then in the other. So the chances are known, and with them the best filter
there can be. The mails are the same on every machine: the draws are uniform doubles of numpy held against whole numbers.
"""
from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from course_utils.validate import expect_choice

WANTED, SPAM = 0, 1
CLASSES = ("wanted", "spam")
SIZES = {"train": 1000, "test": 600}
SHORTEST, LONGEST = 30, 70  # words of a mail

OFFICE = tuple("""agenda attached budget chapter class colleague comments conference contract deadline department draft email exam feedback figures
 hiring homework invoice kids lecture library lunch manager meeting minutes monday notes paper presentation printer professor project proposal
 regards report review room schedule seminar server spreadsheet student supervisor team thesis thursday ticket travel tuesday update version
 weekend workshop""".split())
MARKET = tuple("""amazing bargain bonus brand cash casino cheap claim click congratulations credit crypto deal debt diet discount dollars earn exclusive
 fast free gift guaranteed guarantee income instant investment jackpot limited loan lottery lucky luxury million miracle money mortgage offer
 pills pounds prize profit promotion refinance replica rich risk save secret subscribe trial unlimited urgent viagra voucher watches win winner""".split())
SMALL = tuple("""a about account after again all and are at be best but by call can come day do for from get give good have hello help here hope how i if in
 is it just know let like look make may me more my need new no not now of on one only or our out please read see send so some thank that the
 there this time to today up us want we week what when will with work would you your""".split())

_SMALL, _OWN, _OTHER = 12, 8, 2  # of how many a word is drawn: small words, words of the mail's kind, words of the other kind


@dataclass(frozen=True, eq=False)
class Emails:
    """Mails and the truth about them.

    ``counts``   float32 (N, V): how often each word stands in each mail
    ``labels``   int64 (N,): 0 wanted, 1 spam
    ``texts``    the mails as they read, N of them
    ``words``    the V words
    ``chances``  float64 (2, V): how likely each word is in a wanted mail and in spam, the truth
    """

    counts: Tensor
    labels: Tensor
    texts: tuple[str, ...]
    words: tuple[str, ...]
    chances: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def log_odds(self) -> Tensor:
        """float64 (N,): log p(spam) / p(wanted) of each mail under the true chances; no filter can know more."""
        return self.counts.cpu().double() @ (self.chances[SPAM] / self.chances[WANTED]).log()


@functools.cache
def emails(split: str = "train") -> Emails:
    """The mails of a split, 'train' (1,000) or 'test' (600), wanted ones and spam in turn. Raises ValueError for another split."""
    expect_choice(split, "split", tuple(SIZES))
    words = SMALL + OFFICE + MARKET
    weights = np.array([[_SMALL] * len(SMALL) + [_OWN if kind == WANTED else _OTHER] * len(OFFICE) + [_OWN if kind == SPAM else _OTHER] * len(MARKET)
                        for kind in (WANTED, SPAM)])
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence([len(words), tuple(SIZES).index(split)])))
    labels = np.arange(SIZES[split]) % 2
    drawn = [_mail(stream, weights[label].cumsum()) for label in labels]
    counts = np.stack([np.bincount(mail, minlength=len(words)) for mail in drawn])
    return Emails(
        torch.from_numpy(counts).float(), torch.from_numpy(labels.astype(np.int64)),
        tuple(" ".join(words[i] for i in mail) for mail in drawn), words, torch.from_numpy(weights / weights.sum(1, keepdims=True)),
    )


def _mail(stream: np.random.Generator, ends: np.ndarray) -> np.ndarray:
    """Numbers of words, as many as the first draw says, each with the chance that the running sums ``ends`` give it."""
    length = SHORTEST + int(stream.random() * (LONGEST - SHORTEST + 1))
    return np.searchsorted(ends, stream.random(length) * ends[-1], side="right")
