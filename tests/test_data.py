"""Pictures in memory, the digits, the cache and the downloads. Nothing here uses a network."""
from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import pickle
import tarfile
from functools import partial
from http.client import IncompleteRead
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets
from sklearn.datasets import load_digits

from course_utils import data, victims
from course_utils.data import ImageSet, arrays, cache, digits, download, drawn
from course_utils.data.emails import emails
from course_utils.data.reviews import reviews
from course_utils.data.ring import Ring

N, CLASSES = 24, ("ant", "bee", "cat")


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def few() -> ImageSet:
    """24 pictures of one grey each: picture i is i/24 all over, its class is i % 3."""
    grey = torch.arange(N).float() / N
    return ImageSet(grey.reshape(N, 1, 1, 1).expand(N, 2, 3, 4).clone(), torch.arange(N) % 3, CLASSES, "few")


def positions(images: torch.Tensor) -> list[int]:
    """Which pictures of ``few`` these are; every pixel has to agree."""
    flat = (images * N).flatten(1)
    assert (flat == flat[:, :1]).all()
    return flat[:, 0].round().int().tolist()


# ---- ImageSet ----------------------------------------------------------------------------------------


def test_what_a_set_says_of_itself(few):
    assert len(few) == N and few.shape == (2, 3, 4)
    assert repr(few) == "ImageSet(few: 24 pictures 2x3x4, 3 classes, cpu)"


GOOD = {"images": torch.rand(6, 1, 2, 2), "labels": torch.arange(6) % 3, "classes": CLASSES, "name": "good"}
NAN = GOOD["images"].clone().index_fill_(0, torch.tensor(2), float("nan"))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"images": GOOD["images"] * 2 - 1}, r"images: expected values in \[0, 1\], got values in \[-"),
        ({"images": NAN}, "images: expected no NaN"),
        ({"images": GOOD["images"][0]}, r"images: expected the shape \(N, C, H, W\), got the shape \(1, 2, 2\)"),
        ({"images": GOOD["images"].double()}, "images: expected dtype torch.float32, got torch.float64"),
        ({"images": GOOD["images"].byte()}, "images: expected a floating point dtype"),
        ({"images": GOOD["images"].numpy()}, "images: expected a torch.Tensor"),
        ({"images": torch.rand(0, 1, 2, 2)}, "images: expected at least one picture"),
        ({"labels": GOOD["labels"] + 1}, "labels: expected class numbers from 0 to 2, got 1 to 3"),
        ({"labels": GOOD["labels"][:-1]}, r"labels: expected the shape \(6,\), got the shape \(5,\)"),
        ({"labels": GOOD["labels"].int()}, "labels: expected dtype torch.int64, got torch.int32"),
        ({"classes": list(CLASSES)}, "classes: expected a tuple of names"),
        ({"classes": (0, 1, 2)}, "classes: expected a tuple of names"),
        ({"classes": ("ant", "bee", "ant")}, "classes: expected names that all differ"),
        ({"name": None}, "name: expected a string, got None"),
    ],
)
def test_a_set_refuses_what_it_cannot_hold(wrong, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(**{**GOOD, **wrong})


def test_take_the_first(few):
    some = few.take(5)
    assert positions(some.images) == [0, 1, 2, 3, 4] and some.labels.tolist() == [0, 1, 2, 0, 1]
    assert (some.name, some.classes) == ("few", CLASSES)


def test_take_at_random_without_replacement(few):
    some, again, other = (few.take(N - 1, stream(seed)) for seed in (0, 0, 1))
    where = positions(some.images)
    assert len(set(where)) == N - 1 and where != sorted(where)
    assert some.labels.tolist() == [i % 3 for i in where]
    assert positions(again.images) == where != positions(other.images)


@pytest.mark.parametrize("which", [torch.tensor([7, 2, 7]), torch.arange(N) > 20])
def test_take_by_tensor(few, which):
    some = few.take(which)
    expected = [7, 2, 7] if which.dtype == torch.int64 else [21, 22, 23]
    assert positions(some.images) == expected and some.labels.tolist() == [i % 3 for i in expected]


@pytest.mark.parametrize(
    "which, message",
    [
        (N + 1, "which: expected at most 24, the pictures of few, got 25"),
        (0, "which: expected a whole number of at least 1, got 0"),
        (2.0, "which: expected a whole number"),
        (True, "which: expected a whole number"),
        ([1, 2], "which: expected a whole number"),
        (torch.tensor([0, N]), "which: expected positions from 0 to 23, got 0 to 24"),
        (torch.tensor([-1]), "which: expected positions from 0 to 23"),
        (torch.tensor([0.0]), "which: expected dtype torch.int64 or torch.bool, got torch.float32"),
        (torch.tensor([[0]]), r"which: expected the shape \(n,\), got the shape \(1, 1\)"),
        (torch.tensor([], dtype=torch.int64), "which: expected at least one picture, got none"),
        (torch.zeros(N, dtype=torch.bool), "which: expected at least one picture, got none"),
        (torch.ones(N - 1, dtype=torch.bool), "which: expected one bool for each of 24 pictures, got 23"),
    ],
)
def test_take_refuses(few, which, message):
    with pytest.raises(ValueError, match=message):
        few.take(which)


def test_generators_are_checked(few):
    for call in (lambda: few.take(2, 7), lambda: few.batches(2, 7), lambda: few.sample(2, 7)):
        with pytest.raises(ValueError, match="generator: expected a torch.Generator, got int"):
            call()
    with pytest.raises(ValueError, match="generator: expected None where which is a tensor"):
        few.take(torch.tensor([1]), stream())


def test_of_some_classes(few):
    for some in (few.of("cat", "ant"), few.of(2, 0), few.of(0, "cat")):
        assert positions(some.images) == [i for i in range(N) if i % 3 != 1]
        assert some.labels.tolist() == [0, 2] * 8 and some.classes == CLASSES


@pytest.mark.parametrize("wanted", [("dog",), (3,), (-1,), (True,), (), ("ant", None)])
def test_of_lists_the_classes(few, wanted):
    with pytest.raises(ValueError, match="wanted: expected .*ant, bee, cat"):
        few.of(*wanted)


def test_of_a_class_without_pictures(few):
    with pytest.raises(ValueError, match="images: expected at least one picture"):
        few.take(2).of("cat")


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("drop_last, sizes", [(False, [10, 10, 4]), (True, [10, 10])])
def test_batches_hold_every_picture_once_with_its_label(few, shuffled, drop_last, sizes):
    batches = list(few.batches(10, stream() if shuffled else None, drop_last))
    assert [len(labels) for _, labels in batches] == sizes
    where = positions(torch.cat([images for images, _ in batches]))
    assert len(set(where)) == sum(sizes)
    assert (where == list(range(sum(sizes)))) is not shuffled
    assert torch.cat([labels for _, labels in batches]).tolist() == [i % 3 for i in where]


def test_batches_repeat_with_the_generator_and_change_from_epoch_to_epoch(few):
    generator = stream()
    first, second, again = (
        [positions(images) for images, _ in few.batches(8, source)] for source in (generator, generator, stream())
    )
    assert first == again != second


def test_one_batch_of_everything(few):
    assert len(list(few.batches(N, drop_last=True))) == 1


@pytest.mark.parametrize(
    "size, message", [(N + 1, "size: expected at most 24"), (0, "size: expected"), (2.5, "size: expected")]
)
def test_batches_refuse_at_the_call(few, size, message):
    with pytest.raises(ValueError, match=message):
        few.batches(size)  # no iteration yet


def test_sample_draws_from_all_of_it_with_replacement(few):
    drawn = few.sample(1000, stream())
    assert drawn.shape == (1000, 2, 3, 4)
    counts = np.bincount(positions(drawn), minlength=N)
    assert counts.min() > 15 and counts.max() < 80  # 42 expected
    assert torch.equal(drawn, few.sample(1000, stream())) and not torch.equal(drawn, few.sample(1000, stream(1)))
    with pytest.raises(ValueError, match="n: expected a whole number of at least 1, got 0"):
        few.sample(0, stream())


def test_neither_batches_nor_samples_touch_the_global_random_state(few):
    before = torch.get_rng_state()
    list(few.batches(5, stream())), few.sample(5, stream()), few.take(5, stream())
    assert torch.equal(before, torch.get_rng_state())


def test_fingerprint_follows_the_contents(few):
    def changed(**parts):
        return ImageSet(**{**{k: getattr(few, k) for k in ("images", "labels", "classes", "name")}, **parts})

    pixel, label = few.images.clone(), few.labels.clone()
    pixel[-1, -1, -1, -1] += 1e-6
    label[-1] = 0
    different = [
        changed(name="other"), changed(images=pixel), changed(labels=label),
        changed(images=few.images.reshape(N, 2, 4, 3)), few.take(N - 1), few.take(N, stream()),
    ]
    prints = [few.fingerprint()] + [one.fingerprint() for one in different]
    assert len(set(prints)) == len(prints)
    assert few.fingerprint() == changed(images=few.images.clone()).to("cpu").fingerprint()
    assert len(prints[0]) == 16 and int(prints[0], 16) >= 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_pictures_on_a_gpu(few):
    there = few.to("cuda")
    assert there.images.is_cuda and there.labels.is_cuda and there.fingerprint() == few.fingerprint()
    assert torch.equal(there.sample(9, stream()).cpu(), few.sample(9, stream()))
    assert torch.equal(there.take(9, stream()).images.cpu(), few.take(9, stream()).images)
    for (images, labels), (x, y) in zip(there.batches(7, stream()), few.batches(7, stream()), strict=True):
        assert torch.equal(images.cpu(), x) and torch.equal(labels.cpu(), y)
    assert there.sample(9, torch.Generator("cuda").manual_seed(0)).is_cuda
    assert positions(there.take(torch.tensor([3, 1])).images.cpu()) == [3, 1] and len(there.of("ant")) == 8
    with pytest.raises(ValueError, match="labels: expected the device of the images, cuda:0, got cpu"):
        ImageSet(there.images, few.labels, CLASSES, "torn")


# ---- names and digits --------------------------------------------------------------------------------


def test_names():
    assert data.names()[:4] == ("digits", "mnist", "fashion_mnist", "cifar10")


@pytest.mark.parametrize("name", ["minst", "", None, ["digits"]])
def test_an_unknown_name_lists_the_names(name):
    with pytest.raises(ValueError, match="name: expected one of digits, mnist, fashion_mnist, cifar10.*, got "):
        data.load(name)


def test_an_unknown_split_lists_the_splits():
    with pytest.raises(ValueError, match="split: expected one of train, test, got 'valid'"):
        data.load("digits", "valid")


def test_a_data_set_is_one_more_entry(monkeypatch, few):
    monkeypatch.setitem(data._LOADERS, "few", lambda split: few.take({"train": 9, "test": 3}[split]))
    assert "few" in data.names() and len(data.load("few")) == 9 and len(data.load("few", "test")) == 3


@pytest.fixture(scope="module")
def both() -> tuple[ImageSet, ImageSet]:
    return data.load("digits"), data.load("digits", "test")


def test_digits_are_what_is_promised(both):
    train, test = both
    assert (len(train), len(test), train.shape, train.name) == (1437, 360, (1, 28, 28), "digits")
    assert train.classes == test.classes == tuple("0123456789")
    fifths = (test.labels.bincount() + train.labels.bincount()) / 5
    assert (test.labels.bincount() - fifths).abs().max() < 1
    assert train.images.min() == 0 and train.images.max() == 1
    assert (train.images[:, :, [0, -1], :] == 0).all()  # a margin above and below
    assert train.take(50).labels.unique().numel() == 10  # the first ones aren't all of one class


def test_digits_are_the_same_bit_for_bit_whatever_the_seed(both, monkeypatch):
    monkeypatch.setenv("COURSE_SEED", "77")
    torch.manual_seed(77)
    for split, one, known in zip(("train", "test"), both, ("bc698a0e7ddfa5b3", "2d713c8e3ff1e6ac"), strict=True):
        assert data.load("digits", split).fingerprint() == one.fingerprint() == known


def test_digits_train_and_test_share_no_picture(both):
    train, test = ({row.tobytes() for row in one.images.numpy()} for one in both)
    assert len(train) == 1437 and len(test) == 360 and not train & test


def test_digits_look_like_the_originals():
    source = load_digits()
    small = torch.from_numpy(source.images) / 16
    large = digits._enlarge(small).float() / 255
    back = torch.nn.functional.interpolate(large[:, None], size=10, mode="area")[:, 0, 1:-1, 1:-1]
    assert (back - small).abs().mean() < 0.1
    assert (back.flip(1) - small).abs().mean() > 0.2 < (back.mT - small).abs().mean()  # neither upside down nor turned


def test_digits_have_their_own_labels(both):
    train, test = both
    nearest = torch.cdist(test.images.flatten(1), train.images.flatten(1)).argmin(1)
    assert (train.labels[nearest] == test.labels).float().mean() > 0.97


@pytest.mark.parametrize("name", ["digits", "apps", "shapes"])
def test_data_are_on_the_cpu_whatever_the_default_device(name):
    usual = data.load(name, "test")
    with torch.device("meta"):  # what is made there by mistake has no values
        loaded = data.load(name, "test")
        few, labelled = loaded.take(40, stream()), loaded.of(loaded.classes[0])
        batch, _ = next(loaded.batches(8, stream()))
        outside = victims.part_of(loaded, owner=False)
        assert loaded.fingerprint() == usual.fingerprint() and loaded.sample(3, stream()).device.type == "cpu"
    assert {tensor.device.type for tensor in (loaded.images, loaded.labels, few.images, labelled.labels, batch, outside.images)} == {"cpu"}


def test_other_data_are_on_the_cpu_whatever_the_default_device():
    usual, ring = reviews("written", "test"), Ring()
    grammar, captions = drawn.grammar, data.load("shapes", "test").captions[:5]
    points, numbers = ring.sample(5, 7, generator=stream()), grammar.encode(captions)
    with torch.device("meta"):
        assert torch.equal(reviews("written", "test").tokens, usual.tokens) and torch.equal(reviews("written", "test").labels, usual.labels)
        assert torch.equal(ring.sample(5, 7, generator=stream()), points) and ring.sample(5).device.type == "cpu"
        assert torch.equal(grammar.encode(captions), numbers)
        assert emails("test").counts.device.type == "cpu" and emails("test").log_odds.isfinite().all()


# ---- the cache ---------------------------------------------------------------------------------------


def made(seed: int = 0, count: int = 12) -> dict[str, np.ndarray]:
    """A data set in the format of the cache: coloured pictures, 4 high and 3 wide."""
    rng = np.random.default_rng(seed)
    return {
        "train_images": rng.integers(0, 256, (count, 4, 3, 3), dtype=np.uint8),
        "train_labels": np.arange(count) % 3,
        "test_images": rng.integers(0, 256, (5, 4, 3, 3), dtype=np.uint8),
        "test_labels": np.arange(5) % 3,
        "classes": np.array(CLASSES),
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache that does not exist yet, and no network."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "cache"))
    plant(monkeypatch, no_network)
    return tmp_path / "cache"


def no_network(**_):
    raise URLError(OSError(-2, "Name or service not known"))


def plant(monkeypatch, source) -> None:
    for name in download.SOURCES.values():
        monkeypatch.setattr(torchvision.datasets, name, source)


class Planted:
    """What a torchvision data set looks like, filled from ``made()``; leaves raw files as those do."""

    classes = ["ant - as MNIST has 3 - three", "bee", "cat"]
    roots: list[str] = []

    def __init__(self, root, train, download):
        assert download and os.path.isdir(root)
        Planted.roots.append(str(root))
        with open(os.path.join(root, f"raw-{train}"), "wb") as file:
            file.write(b"raw")
        split = "train" if train else "test"
        self.data = made()[f"{split}_images"]
        self.targets = made()[f"{split}_labels"].tolist()


def same(one, other) -> bool:
    return set(one) == set(other) and all(np.array_equal(one[key], other[key]) for key in one)


def test_a_file_put_there_by_hand_is_used_as_it_is(folder):
    folder.mkdir()
    stored = made()
    np.savez_compressed(folder / "mnist.npz", **stored, note=np.array("something more"))
    before = (folder / "mnist.npz").read_bytes()
    for split in ("train", "test"):
        loaded = data.load("mnist", split)
        expected = stored[f"{split}_images"].transpose(0, 3, 1, 2).astype(np.float32) / 255
        assert loaded.shape == (3, 4, 3) and np.array_equal(loaded.images.numpy(), expected)
        assert loaded.images.stride() == (36, 12, 3, 1)
        assert loaded.labels.tolist() == stored[f"{split}_labels"].tolist()
        assert (loaded.classes, loaded.name) == (CLASSES, "mnist")
    assert (folder / "mnist.npz").read_bytes() == before and os.listdir(folder) == ["mnist.npz"]


@pytest.mark.parametrize("name", download.SOURCES)
def test_a_download_is_converted_once_and_its_raw_files_go(folder, monkeypatch, name):
    monkeypatch.setattr(Planted, "roots", [])
    plant(monkeypatch, Planted)
    first = data.load(name)
    assert os.listdir(folder) == [f"{name}.npz"] and same(cache.read(folder / f"{name}.npz"), made())
    assert all(os.path.dirname(root) == str(folder) for root in Planted.roots)  # below the cache while it lasted
    plant(monkeypatch, no_network)
    assert data.load(name).fingerprint() == first.fingerprint() and len(data.load(name, "test")) == 5


def test_grey_pictures_get_a_channel(folder, monkeypatch):
    class Grey(Planted):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.data = torch.from_numpy(self.data[..., 0])
            self.targets = torch.tensor(self.targets)

    plant(monkeypatch, Grey)
    assert data.load("mnist").shape == (1, 4, 3)
    assert np.array_equal(cache.read(folder / "mnist.npz")["train_images"], made()["train_images"][..., :1])


def test_course_data_dir_moves_the_cache(tmp_path, monkeypatch):
    for place in ("here", "there"):
        monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / place))
        cache.write(cache.path_of("mnist"), made(count=6 if place == "here" else 9))
    assert len(data.load("mnist")) == 9
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "here"))
    assert len(data.load("mnist")) == 6


def stored_bytes(save=np.savez, **arrays_) -> bytes:
    file = io.BytesIO()
    save(file, **arrays_)
    return file.getvalue()


def altered(**changes) -> bytes:
    return stored_bytes(**{k: v for k, v in {**made(), **changes}.items() if v is not None})


WHOLE = altered()
MIDDLE = WHOLE.index(made()["train_images"].tobytes()) + 50
DAMAGED = {
    "empty": (b"", "EOFError"),
    "garbage": (b"<html>404</html>" * 20, "ValueError"),
    "cut off": (WHOLE[:-300], "BadZipFile"),
    "one byte changed": (WHOLE[:MIDDLE] + bytes([WHOLE[MIDDLE] ^ 1]) + WHOLE[MIDDLE + 1 :], "BadZipFile"),
    "one array": (stored_bytes(lambda file: np.save(file, np.zeros(3))), "TypeError"),
    "a name missing": (altered(test_labels=None), "none named test_labels"),
    "float pictures": (altered(train_images=made()["train_images"] / 255), "train_images: expected .* float64"),
    "no channels": (altered(test_images=made()["test_images"][..., 0]), r"test_images: expected .*\(5, 4, 3\) uint8"),
    "no pictures": (altered(train_images=made()["train_images"][:0]), r"train_images: expected .*\(0, 4, 3, 3\)"),
    "int32 labels": (altered(train_labels=made()["train_labels"].astype(np.int32)), "train_labels: .* got int32"),
    "a label too high": (altered(test_labels=made()["test_labels"] + 1), "test_labels: expected class numbers"),
    "a label too few": (altered(train_labels=made()["train_labels"][1:]), "train_labels: expected the shape"),
    "two sizes": (altered(test_images=made()["test_images"][:, 1:]), "test_images: expected pictures of the shape"),
    "class numbers": (altered(classes=np.arange(3)), "classes: expected .* int64"),
    "a class twice": (altered(classes=np.array(["a", "b", "a"])), "classes: expected names that all differ"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_named_fetched_again_and_kept_under_another_name(folder, monkeypatch, kind):
    contents, reason = DAMAGED[kind]
    folder.mkdir()
    (folder / "mnist.npz").write_bytes(contents)
    plant(monkeypatch, Planted)
    with pytest.warns(UserWarning, match=reason) as warned:
        loaded = data.load("mnist")
    assert len(warned) == 1 and str(folder / "mnist.npz") in str(warned[0].message)
    assert "will then be called mnist.npz.unused-1" in str(warned[0].message) and (folder / "mnist.npz.unused-1").read_bytes() == contents
    assert len(loaded) == 12 and same(cache.read(folder / "mnist.npz"), made())


def test_a_damaged_file_without_a_network_stays_where_it_is_and_another_is_asked_for(folder):
    folder.mkdir()
    (folder / "mnist.npz").write_bytes(WHOLE[:-300])
    for _ in range(2):
        with pytest.warns(UserWarning, match="can't be used"), pytest.raises(RuntimeError, match="Wanted: "):
            data.load("mnist")
    assert os.listdir(folder) == ["mnist.npz"] and (folder / "mnist.npz").read_bytes() == WHOLE[:-300]


def test_no_file_that_was_kept_is_overwritten_by_the_next_one(folder, monkeypatch):
    folder.mkdir()
    plant(monkeypatch, Planted)
    for number in (1, 2):
        (folder / "mnist.npz").write_bytes(b"bytes %d" % number)
        with pytest.warns(UserWarning, match=f"mnist.npz.unused-{number}$"):
            data.load("mnist")
    assert [(folder / f"mnist.npz.unused-{number}").read_bytes() for number in (1, 2)] == [b"bytes 1", b"bytes 2"]


def of_keras(**changes) -> bytes:
    """What Keras keeps of pictures with ten classes: bytes, labels of one byte, no channel."""
    rng = np.random.default_rng(0)
    found = {"x_train": rng.integers(0, 256, (20, 5, 4), dtype=np.uint8), "y_train": np.arange(20, dtype=np.uint8) % 10,
             "x_test": rng.integers(0, 256, (10, 5, 4), dtype=np.uint8), "y_test": np.arange(10, dtype=np.uint8)}
    return stored_bytes(np.savez_compressed, **{**found, **changes})


def test_the_file_of_keras_is_used_as_it_is(folder):
    folder.mkdir()
    (folder / "mnist.npz").write_bytes(of_keras())
    stored = np.load(io.BytesIO(of_keras()))
    for split in ("train", "test"):
        loaded = data.load("mnist", split)
        assert loaded.shape == (1, 5, 4) and loaded.classes == tuple("0123456789")
        assert np.array_equal((loaded.images * 255).round().byte()[:, 0], stored[f"x_{split}"])
        assert loaded.labels.tolist() == stored[f"y_{split}"].tolist()
    assert os.listdir(folder) == ["mnist.npz"] and (folder / "mnist.npz").read_bytes() == of_keras()


def test_colours_and_a_column_of_labels_as_keras_has_them(folder):
    folder.mkdir()
    pixels, column = np.zeros((20, 5, 4, 3), dtype=np.uint8), (np.arange(20) % 10)[:, None]
    (folder / "cifar10.npz").write_bytes(of_keras(x_train=pixels, y_train=column, x_test=pixels, y_test=column))
    loaded = data.load("cifar10")
    assert loaded.shape == (3, 5, 4) and loaded.labels.tolist() == column.flatten().tolist() and loaded.classes[9] == "truck"


@pytest.mark.parametrize("change, reason", [
    ({"y_train": np.zeros(20)}, "y_train: expected whole numbers, got float64"), ({"y_train": np.eye(10, dtype=int)[np.arange(20) % 10]}, "train_labels: expected the shape"),
    ({"y_test": np.full(10, 10)}, "test_labels: expected class numbers from 0 to 9"), ({"x_train": np.zeros((20, 5, 4))}, "train_images: expected")])
def test_a_file_of_keras_with_something_else_in_it_is_not_used(folder, change, reason):
    folder.mkdir()
    (folder / "mnist.npz").write_bytes(of_keras(**change))
    with pytest.warns(UserWarning, match=reason), pytest.raises(RuntimeError, match="(?s)Wanted: .*Keras's, with x_train"):
        data.load("mnist")
    assert (folder / "mnist.npz").read_bytes() == of_keras(**change)


def test_the_names_of_the_classes_are_torchvisions():
    assert arrays.CLASSES.keys() == download.SOURCES.keys()
    assert [name.split(" - ")[0] for name in torchvision.datasets.MNIST.classes] == list(arrays.CLASSES["mnist"])
    assert torchvision.datasets.FashionMNIST.classes == list(arrays.CLASSES["fashion_mnist"])
    assert sorted(arrays.CLASSES["cifar10"]) == list(arrays.CLASSES["cifar10"]) and len(set(arrays.CLASSES["cifar10"])) == 10


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("how", ["an object array", "a pickle"])
def test_nothing_is_unpickled(folder, monkeypatch, tmp_path, how):
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    folder.mkdir()
    (folder / "mnist.npz").write_bytes(altered(classes=trap) if how == "an object array" else pickle.dumps(trap))
    plant(monkeypatch, Planted)
    with pytest.warns(UserWarning, match="without pickles"):
        data.load("mnist")
    assert not (tmp_path / "sprung").exists()


def test_a_file_that_cannot_be_opened_is_not_called_damaged(folder, monkeypatch):
    cache.write(folder / "mnist.npz", made())

    def locked(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(cache, "open", locked, raising=False)
    with pytest.raises(PermissionError, match="mnist.npz"):
        data.load("mnist")
    assert (folder / "mnist.npz").exists()


def raises(error):
    def function(*_, **__):
        raise error

    return function


def half_a_file(error):
    def savez(file, **_):
        file.write(WHOLE[:200])
        file.flush()
        raise error

    return savez


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "interrupt"])
@pytest.mark.parametrize("where", ["np.savez", "os.fsync", "os.replace"])
def test_a_write_that_fails_leaves_the_previous_file(folder, monkeypatch, error, where):
    path = folder / "mnist.npz"
    cache.write(path, made(0))
    before = path.read_bytes()
    module, function = {"np": np, "os": os}[where[:2]], where[3:]
    with monkeypatch.context() as broken:
        broken.setattr(module, function, half_a_file(error) if function == "savez" else raises(error))
        with pytest.raises(type(error)) as raised:
            cache.write(path, made(1))
    if error is FULL:
        assert raised.value.errno == errno.ENOSPC
        for part in (str(path), "could not be written", "No space left", "unchanged", "COURSE_DATA_DIR"):
            assert part in str(raised.value)
    assert path.read_bytes() == before and os.listdir(folder) == ["mnist.npz"]
    cache.write(path, made(1))
    assert same(cache.read(path), made(1))


def test_what_is_written_is_complete_before_it_gets_its_name(folder, monkeypatch):
    seen = []
    for function in ("fsync", "replace"):
        real = getattr(os, function)
        monkeypatch.setattr(os, function, lambda *a, real=real, name=function: (seen.append(name), real(*a))[1])
    cache.write(folder / "mnist.npz", made())
    assert seen == ["fsync", "replace"]


def test_arrays_in_another_format_are_not_written(folder):
    with pytest.raises(ValueError, match="train_labels: expected dtype int64, got float64"):
        cache.write(folder / "mnist.npz", {**made(), "train_labels": np.zeros(12)})
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "file" / "cache"))
    plant(monkeypatch, Planted)
    for attempt in (lambda: data.load("mnist"), lambda: cache.write(cache.path_of("mnist"), made())):
        with pytest.raises(OSError, match="mnist.npz could not be written .*COURSE_DATA_DIR") as raised:
            attempt()
        assert str(tmp_path / "file" / "cache") in str(raised.value)


# ---- downloads that go wrong -------------------------------------------------------------------------

TROUBLE = [
    URLError(OSError(-2, "Name or service not known")),
    RuntimeError("Error downloading train.gz:\nTried one, got:\nName or service not known"),
    ConnectionResetError(errno.ECONNRESET, "Name or service not known"),
    TimeoutError("Name or service not known"),
    IncompleteRead(b"Name or service not known"),
]


@pytest.mark.parametrize("error", TROUBLE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", download.SOURCES)
def test_without_a_network_it_says_what_to_do(folder, monkeypatch, name, error):
    plant(monkeypatch, raises(error))
    with pytest.raises(RuntimeError) as raised:
        data.load(name)
    said = str(raised.value)
    assert f"{name} could not be downloaded" in said and f"Wanted: {folder / name}.npz\n" in said
    for part in (*arrays.KEYS, "uint8", "int64", "by hand", "COURSE_PROFILE=quick"):
        assert part in said
    if not isinstance(error, IncompleteRead):
        assert "Name or service not known" in said.splitlines()[0]
    assert raised.value.__cause__ is error and os.listdir(folder) == []


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["full disk", "interrupt"])
def test_a_download_that_stops_leaves_nothing_half_done(folder, monkeypatch, error):
    class Stops(Planted):
        def __init__(self, **settings):
            super().__init__(**settings)
            if not settings["train"]:
                raise error

    cache.write(folder / "cifar10.npz", made())
    before = (folder / "cifar10.npz").read_bytes()
    plant(monkeypatch, Stops)
    with pytest.raises(type(error)) as raised:
        data.load("mnist")
    if error is FULL:
        assert "mnist.npz could not be written (No space left" in str(raised.value)
    assert os.listdir(folder) == ["cifar10.npz"] and (folder / "cifar10.npz").read_bytes() == before


# ---- torchvision itself, from a server on this machine ------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder, the address that serves it, and an empty cache."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "mirror").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "mirror")) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield tmp_path / "mirror", f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def md5(contents: bytes) -> str:
    return hashlib.md5(contents).hexdigest()


def put(folder, name: str, contents: bytes) -> tuple[str, str]:
    (folder / name).write_bytes(contents)
    return name, md5(contents)


def idx(values: np.ndarray) -> bytes:
    """The file format of MNIST: two zeros, the type, the number of dimensions, their sizes, the bytes."""
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">i4").tobytes()
    return gzip.compress(head + values.astype(np.uint8).tobytes())


@pytest.mark.parametrize("name, first_class", [("mnist", "0"), ("fashion_mnist", "T-shirt/top")])
def test_torchvisions_mnist(mirror, tmp_path, monkeypatch, name, first_class):
    folder, address = mirror
    source = getattr(torchvision.datasets, download.SOURCES[name])
    monkeypatch.setattr(source, "mirrors", [address])
    resources = []
    for split, prefix in (("train", "train"), ("test", "t10k")):
        resources.append(put(folder, f"{prefix}-images-idx3-ubyte.gz", idx(made()[f"{split}_images"][..., 0])))
        resources.append(put(folder, f"{prefix}-labels-idx1-ubyte.gz", idx(made()[f"{split}_labels"])))
    monkeypatch.setattr(source, "resources", resources)
    for split in arrays.SPLITS:
        loaded = data.load(name, split)
        assert np.array_equal((loaded.images * 255).round().byte()[:, 0], made()[f"{split}_images"][..., 0])
        assert loaded.labels.tolist() == made()[f"{split}_labels"].tolist()
        assert len(loaded.classes) == 10 and loaded.classes[0] == first_class
    assert os.listdir(tmp_path / "cache") == [f"{name}.npz"]


def plant_cifar10(folder, address, monkeypatch) -> None:
    """An archive as CIFAR-10's, of random pictures 32x32; its colours come channel by channel."""
    source, rng = torchvision.datasets.CIFAR10, np.random.default_rng(0)
    parts = {"batches.meta": {"label_names": [f"class {i}" for i in range(10)]}}
    for number, batch in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
        parts[batch] = {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [number] * 4}
    packed, sums = io.BytesIO(), {}
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for part, contents in parts.items():
            raw = pickle.dumps(contents)
            sums[part] = md5(raw)
            entry = tarfile.TarInfo(f"{source.base_folder}/{part}")
            entry.size = len(raw)
            tar.addfile(entry, io.BytesIO(raw))
    _, total = put(folder, source.filename, packed.getvalue())
    monkeypatch.setattr(source, "url", address + source.filename)
    monkeypatch.setattr(source, "tgz_md5", total)
    monkeypatch.setattr(source, "train_list", [[part, sums[part]] for part in ("data_batch_1", "data_batch_2")])
    monkeypatch.setattr(source, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": sums["batches.meta"]})


def test_torchvisions_cifar10(mirror, monkeypatch):
    plant_cifar10(*mirror, monkeypatch)
    train, test = data.load("cifar10"), data.load("cifar10", "test")
    assert (train.shape, len(train), len(test)) == ((3, 32, 32), 8, 4)
    assert train.labels.tolist() == [0] * 4 + [1] * 4 and test.labels.tolist() == [2] * 4
    expected = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8).reshape(4, 3, 32, 32)
    assert np.array_equal((train.images[:4] * 255).round().byte(), expected)


def test_a_download_with_the_wrong_checksum_is_refused(mirror, tmp_path, monkeypatch):
    plant_cifar10(*mirror, monkeypatch)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", md5(b"something else"))
    with pytest.raises(RuntimeError, match="cifar10 could not be downloaded .*corrupted"):
        data.load("cifar10")
    assert os.listdir(tmp_path / "cache") == []
