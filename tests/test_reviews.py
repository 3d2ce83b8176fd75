"""Reviews and their readers: written the same everywhere, downloads that are checked and go on, vectors that are normalised."""
from __future__ import annotations

import functools
import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from torch.nn.functional import cross_entropy

from course_utils.data import archive, reviews as module
from course_utils.data.reviews import BAD, GOOD, NEGATIVE, POSITIVE, SINCERE, SIZES, THINGS, Reviews, reviews
from course_utils.models.words import ENCODERS, Reader, WordVectors, language_loss, nearest
from course_utils.vat import vat_loss

# ---------------------------------------------------------------- written by the package


@pytest.mark.parametrize("split", SIZES)
def test_a_split_has_its_size_and_as_many_good_reviews_as_bad_ones(split):
    some = reviews(split=split)
    assert len(some) == SIZES[split] == len(some.tokens) and some.labels.bincount().tolist() == [SIZES[split] // 2] * 2


@pytest.mark.parametrize("split, digest", [("train", "d22a1f96332b103c"), ("test", "a8844a653996abb1")])
def test_reviews_are_the_same_on_every_machine(split, digest):
    some = reviews(split=split)
    text = "\n".join(some.text(i) for i in range(len(some)))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


def test_verdicts_are_in_keeping_with_the_review_as_often_as_said():
    some, right, total = reviews(), 0, 0
    for i in range(len(some)):
        for word in some.text(i).split():
            if word in POSITIVE or word in NEGATIVE:
                right += (word in POSITIVE) == (some.labels[i] == GOOD)
                total += 1
    assert 4 * len(some) <= total <= 7 * len(some)
    assert abs(right / total - SINCERE) < 4 * (SINCERE * (1 - SINCERE) / total) ** 0.5


def test_every_word_belongs_to_one_kind_and_every_one_occurs():
    assert not set(POSITIVE) & set(NEGATIVE) and not (set(POSITIVE) | set(NEGATIVE)) & set(THINGS)
    assert len(set(POSITIVE)) == len(POSITIVE) == len(set(NEGATIVE)) == len(NEGATIVE) == 40
    assert {*POSITIVE, *NEGATIVE, *THINGS} < set(reviews().words)


def test_unlabelled_reviews_are_those_of_the_training_part_without_labels():
    hidden = reviews(split="unlabelled")
    assert torch.equal(hidden.tokens, reviews().tokens) and (hidden.labels == -1).all()
    assert not torch.equal(reviews().tokens[:1000], reviews(split="test").tokens[:, : reviews().tokens.shape[1]])


def test_a_few_labelled_reviews_miss_many_words_that_the_unlabelled_ones_connect():
    some = reviews().take(torch.arange(24))
    seen = {word for i in range(24) for word in some.text(i).split()}
    missed = [word for word in POSITIVE + NEGATIVE if word not in seen]
    assert len(missed) >= 15
    everywhere = [set(reviews().text(i).split()) for i in range(2000)]
    for word in missed[:10]:  # beside it, known words of its own side are several times as frequent as of the other
        company = [text & seen for text in everywhere if word in text]
        good, bad = (sum(len(text & set(side)) for text in company) for side in (POSITIVE, NEGATIVE))
        assert (good > 2 * bad) if word in POSITIVE else (bad > 2 * good)


def test_long_reviews_keep_their_end_and_rare_words_have_one_number():
    whole, cut = reviews(), reviews(length=4)
    assert cut.tokens.shape == (2000, 4) and cut.text(0).split() == whole.text(0).split()[-4:]
    few = reviews(vocabulary=5)
    assert len(few.words) == 7 and "<rare>" in few.text(0)
    assert few.frequencies()[0] == 0 and few.frequencies().sum().item() == pytest.approx(1)


@pytest.mark.parametrize("bad, name", [
    (lambda: reviews("amazon"), "name"), (lambda: reviews(split="dev"), "split"), (lambda: reviews(length=0), "length"), (lambda: reviews(vocabulary=0), "vocabulary"),
    (lambda: Reviews(torch.zeros(2, 3), torch.zeros(2), ("",), "x"), "tokens"), (lambda: Reviews(torch.full((2, 3), 5), torch.zeros(2), ("", "a"), "x"), "tokens"),
    (lambda: Reviews(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3), ("", "a"), "x"), "labels")])
def test_bad_input_is_named(bad, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        bad()

# ---------------------------------------------------------------- downloaded

LINES = {end: [f"{what} number {' '.join(str(i))} ." for i in range(1500)] for end, what in (("neg", "dull and slow"), ("pos", "fine and quick"))}


def packed() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for end, lines in LINES.items():
            text = "\n".join(lines).encode("latin-1")
            info = tarfile.TarInfo(f"rt-polaritydata/rt-polarity.{end}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    return stream.getvalue()


class Server(HTTPServer):
    """A server of ``content`` that breaks off after ``at_most`` bytes and notes what was asked for."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at_most, self.asked, self.ranges = content, None, [], True
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        rest = self.server.content[start:]
        if not rest:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.at_most])

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server():
    with Server(packed()) as one:
        thread = threading.Thread(target=functools.partial(one.serve_forever, poll_interval=0.02), daemon=True)
        thread.start()
        yield one
        one.shutdown()


@pytest.fixture
def tomatoes(server, tmp_path, monkeypatch):
    """Rotten Tomatoes from the server, into an empty folder."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    digest = hashlib.sha256(server.content).hexdigest()
    monkeypatch.setattr(module, "ROTTEN_TOMATOES", archive.Source(f"http://127.0.0.1:{server.server_port}/x.tar.gz", "sha256", digest))
    module._vocabulary.cache_clear()
    yield tmp_path
    module._vocabulary.cache_clear()


def test_sentences_are_downloaded_once_split_and_labelled(server, tomatoes):
    train, test, hidden = (reviews("rotten_tomatoes", split) for split in ("train", "test", "unlabelled"))
    assert (len(train), len(test)) == (3000 - 1066, 1066) and server.asked == [None]
    assert torch.equal(hidden.tokens, train.tokens) and (hidden.labels == -1).all()
    both = [some.text(i) for some in (train, test) for i in range(len(some))]
    assert sorted(both) == sorted(LINES["neg"] + LINES["pos"])
    assert all((train.labels[i] == BAD) == train.text(i).startswith("dull") for i in range(200))


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server, tomatoes):
    server.at_most = 3000
    with pytest.raises(RuntimeError, match="Run the cell again"):
        reviews("rotten_tomatoes")
    assert (tomatoes / "rt-polaritydata.tar.gz.part").stat().st_size == 3000
    server.at_most = None
    assert len(reviews("rotten_tomatoes")) == 3000 - 1066
    assert server.asked == [None, "bytes=3000-"] and [path.name for path in tomatoes.iterdir()] == ["rt-polaritydata.tar.gz"]


def test_a_server_that_can_not_go_on_is_read_from_the_beginning(server, tomatoes):
    (tomatoes / "rt-polaritydata.tar.gz.part").write_bytes(b"xyz")
    server.ranges = False
    assert len(reviews("rotten_tomatoes")) == 3000 - 1066


def test_another_file_is_refused_and_not_kept(server, tomatoes):
    server.content = server.content[:-1] + b"!"
    with pytest.raises(RuntimeError, match="does not have the sha256"):
        reviews("rotten_tomatoes")
    assert list(tomatoes.iterdir()) == []


def test_a_file_put_there_that_is_another_one_is_kept_under_another_name(server, tomatoes):
    place = tomatoes / "rt-polaritydata.tar.gz"
    place.write_bytes(b"somebody's own")
    with pytest.warns(UserWarning, match="its sha256 digest is not .*will then be called rt-polaritydata.tar.gz.unused-1"):
        reviews("rotten_tomatoes")
    assert place.with_name(f"{place.name}.unused-1").read_bytes() == b"somebody's own" and place.read_bytes() == server.content


def test_without_a_network_the_message_says_what_to_put_where(tomatoes, monkeypatch):
    monkeypatch.setattr(module, "ROTTEN_TOMATOES", archive.Source("http://127.0.0.1:9/x.tar.gz", "sha256", "0" * 64))
    with pytest.raises(RuntimeError) as caught:
        reviews("rotten_tomatoes")
    for part in (str(tomatoes / "rt-polaritydata.tar.gz"), "http://127.0.0.1:9/x.tar.gz", "rt-polarity.neg", "COURSE_PROFILE=quick"):
        assert part in str(caught.value)


def test_the_two_files_put_there_by_hand_are_used(server, tomatoes):
    (tomatoes / "rotten_tomatoes").mkdir()
    for end in LINES:
        (tomatoes / "rotten_tomatoes" / f"rt-polarity.{end}").write_text("\n".join(LINES[end][:700]), encoding="latin-1")
    assert len(reviews("rotten_tomatoes")) == 1400 - 1066 and server.asked == []


def test_imdb_has_reviews_without_labels_of_its_own(server, tmp_path, monkeypatch):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for place in ("train/pos/0_9", "train/neg/0_2", "train/unsup/0_0", "test/pos/0_10", "test/neg/0_1", "train/unsup/1_0"):
            text = f"{place.split('/')[1]} film<br />of mine".encode()
            info = tarfile.TarInfo(f"aclImdb/{place}.txt")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    server.content = stream.getvalue()
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(module, "IMDB", archive.Source(f"http://127.0.0.1:{server.server_port}/", "md5", hashlib.md5(server.content).hexdigest()))
    monkeypatch.setattr(module, "_imdb", functools.cache(module._imdb.__wrapped__))
    monkeypatch.setitem(module._LOADERS, "imdb", (module._imdb, 200))
    module._vocabulary.cache_clear()
    train, hidden = reviews("imdb"), reviews("imdb", "unlabelled")
    module._vocabulary.cache_clear()
    assert [(train.text(i), train.labels[i].item()) for i in range(2)] == [("neg film of mine", BAD), ("pos film of mine", GOOD)]
    assert hidden.labels.tolist() == [-1, -1] and hidden.text(0) == "<rare> film of mine"

# ---------------------------------------------------------------- readers


def some_vectors() -> WordVectors:
    torch.manual_seed(0)
    return WordVectors(torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4]), 6)


def test_vectors_have_mean_0_and_variance_1_over_the_words_as_they_occur():
    vectors = some_vectors()
    with torch.no_grad():
        vectors.raw.mul_(7).add_(3)
    share, table = vectors.frequencies[:, None], vectors.table()
    torch.testing.assert_close((share * table).sum(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close((share * table.square()).sum(0), torch.ones(6))
    assert abs(table.mean()) > 1e-3, "equal shares would be another mean"


def test_longer_raw_vectors_change_nothing():
    vectors = some_vectors()
    before = vectors.table().detach()
    with torch.no_grad():
        vectors.raw.mul_(100)
    torch.testing.assert_close(vectors.table(), before)


def reader(encoder: str) -> Reader:
    torch.manual_seed(1)
    return Reader(torch.full((9,), 1 / 9), size=6, width=7, encoder=encoder)


TOKENS = torch.tensor([[1, 2, 3, 4, 0, 0], [5, 6, 7, 8, 1, 2]])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_stands_after_the_end_has_no_effect(encoder):
    net = reader(encoder)
    short = net(TOKENS[:1, :4])
    torch.testing.assert_close(net(TOKENS)[:1], short)
    s = net.vectors(TOKENS)
    noise = torch.randn_like(s) * (TOKENS == 0)[..., None]
    torch.testing.assert_close(net.read(s + noise, TOKENS), net(TOKENS))
    changed = net.read(s + torch.randn_like(s) * (TOKENS != 0)[..., None], TOKENS)
    assert (changed - net(TOKENS)).abs().max() > 1e-3


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_next_word_is_guessed_from_those_before_it_only(encoder):
    net = reader(encoder)
    other = TOKENS.clone()
    other[1, 3:] = torch.tensor([1, 1, 1])
    torch.testing.assert_close(net.next_word(other)[1, :3], net.next_word(TOKENS)[1, :3])
    assert net.next_word(TOKENS).shape == (2, 5, 9)
    expected = torch.stack([cross_entropy(net.next_word(TOKENS)[b, t], TOKENS[b, t + 1]) for b, t in [(0, 0), (0, 1), (0, 2)] + [(1, t) for t in range(5)]]).mean()
    torch.testing.assert_close(language_loss(net, TOKENS), expected)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_virtual_adversarial_training_reaches_the_word_vectors(encoder):
    net = reader(encoder)
    loss = vat_loss(net.around(TOKENS), net.vectors(TOKENS), eps=2.0)
    loss.backward()
    assert loss > 0 and net.vectors.raw.grad.abs().sum() > 0 and net.head.weight.grad.abs().sum() > 0


def test_nearest_words_are_sorted_and_leave_out_the_word_and_those_never_read():
    vectors = Reader(torch.tensor([0.0, 0.25, 0.25, 0.25, 0.25]), size=2, width=3)
    with torch.no_grad():
        vectors.vectors.raw.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.9, 0.3], [-1.0, 0.1], [-0.9, -0.4]]))
    found = nearest(vectors, ("", "a", "b", "c", "d"), "a", 3)
    assert [word for word, _ in found][0] == "b" and {word for word, _ in found} == {"b", "c", "d"}
    assert [c for _, c in found] == sorted((c for _, c in found), reverse=True)


@pytest.mark.parametrize("bad, name", [
    (lambda: WordVectors(torch.ones(4), 3), "frequencies"), (lambda: WordVectors(torch.ones(4) / 4, 0), "size"), (lambda: Reader(torch.ones(4) / 4, encoder="gru"), "encoder"),
    (lambda: Reader(torch.ones(4) / 4)(torch.zeros(2, 3)), "tokens"), (lambda: nearest(Reader(torch.ones(2) / 2), ("", "a"), "b"), "word")])
def test_bad_input_to_readers_is_named(bad, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        bad()
