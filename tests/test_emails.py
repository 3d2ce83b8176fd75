"""The mails that the package writes: the same everywhere, drawn by the chances that they come with."""
from __future__ import annotations

import hashlib

import pytest
import torch

from course_utils.data.emails import CLASSES, LONGEST, MARKET, OFFICE, SHORTEST, SIZES, SMALL, SPAM, WANTED, Emails, emails


@pytest.mark.parametrize("split", SIZES)
def test_a_split_has_its_size_and_as_many_spam_as_wanted_mails(split):
    mails = emails(split)
    assert len(mails) == len(mails.texts) == len(mails.counts) == SIZES[split]
    assert mails.labels.bincount().tolist() == [SIZES[split] // 2] * 2
    assert (CLASSES[WANTED], CLASSES[SPAM]) == ("wanted", "spam")


@pytest.mark.parametrize("split, digest", [("train", "67a33e03d7aa0b51"), ("test", "1024af57951b4294")])
def test_mails_are_the_same_on_every_machine(split, digest):
    assert hashlib.sha256("\n".join(emails(split).texts).encode()).hexdigest()[:16] == digest


def test_counts_are_those_of_the_texts():
    mails = emails("test")
    for text, counts in zip(mails.texts[:50], mails.counts[:50]):
        words = text.split()
        assert SHORTEST <= len(words) <= LONGEST
        assert {mails.words[i]: int(counts[i]) for i in counts.nonzero().flatten()} == {word: words.count(word) for word in words}


def test_lengths_reach_from_the_shortest_to_the_longest():
    lengths = emails().counts.sum(1)
    assert lengths.min() == SHORTEST and lengths.max() == LONGEST


def test_every_word_belongs_to_one_kind():
    assert len({*SMALL, *OFFICE, *MARKET}) == len(SMALL) + len(OFFICE) + len(MARKET) == len(emails().words)


def test_chances_are_chances_and_say_whose_word_it_is():
    mails = emails()
    torch.testing.assert_close(mails.chances.sum(1), torch.ones(2, dtype=torch.float64))
    for kind, own, other in ((WANTED, OFFICE, MARKET), (SPAM, MARKET, OFFICE)):
        chance = dict(zip(mails.words, mails.chances[kind].tolist()))
        assert min(chance[word] for word in own) > 2 * max(chance[word] for word in other) > 0


@pytest.mark.parametrize("kind", [WANTED, SPAM])
def test_words_come_as_often_as_their_chance_says(kind):
    mails = emails()
    seen = mails.counts[mails.labels == kind].sum(0).double()
    expected = mails.chances[kind] * seen.sum()
    chi_square = ((seen - expected) ** 2 / expected).sum().item()
    freedom = len(mails.words) - 1
    assert abs(chi_square - freedom) < 5 * (2 * freedom) ** 0.5


def test_the_two_splits_differ():
    assert not set(emails("train").texts) & set(emails("test").texts)


def test_log_odds_are_the_sum_over_the_words():
    mails = Emails(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([1, 0]), ("a a b", "b"), ("a", "b"), torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64))
    expected = torch.tensor([2 * torch.log(torch.tensor(2.0)) + torch.log(torch.tensor(2 / 3)), torch.log(torch.tensor(2 / 3))], dtype=torch.float64)
    torch.testing.assert_close(mails.log_odds, expected, atol=1e-6, rtol=0)


def test_the_best_filter_there_can_be_is_right_and_not_always():
    mails = emails("test")
    accuracy = ((mails.log_odds > 0).long() == mails.labels).double().mean().item()
    assert 0.97 < accuracy < 1


def test_another_split_is_refused():
    with pytest.raises(ValueError, match="split: expected one of train, test, got 'dev'"):
        emails("dev")
