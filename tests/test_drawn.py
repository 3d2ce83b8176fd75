"""The pictures that the package draws: the same everywhere, and what they say of themselves is true."""
from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import pytest
import torch

from course_utils import data
from course_utils.data import AttributeSet, drawn
from course_utils.data.drawn import canvas, captions, changed, edges, faces, fruit, grammar, grey, shapes, unseen
from course_utils.data.drawn.canvas import Random

SPLITS = ("train", "test")
MASKED = ("shapes", "horses", "fruit")
CLASS = {"shapes": "shape", "horses": "animal", "fruit": "fruit", "seasons": "season"}  # the attribute that is the class


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sets() -> dict[str, AttributeSet]:
    return {name: data.load(name, "test") for name in drawn.NAMES}


@pytest.fixture(scope="module")
def trained() -> dict[str, AttributeSet]:
    return {name: data.load(name) for name in drawn.NAMES}


def nearest(colours: torch.Tensor, table: tuple) -> torch.Tensor:
    """The row of ``table`` that each of ``colours`` (N, 3) is most like, whatever the light (N,)."""
    table = torch.tensor(table)
    return torch.cdist(colours / colours.norm(dim=1, keepdim=True), table / table.norm(dim=1, keepdim=True)).argmin(dim=1)


def inside(pictures: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Mean colour (N, 3) of the pixels that lie wholly within the masks."""
    whole = (masks > 0.999).float()
    return (pictures * whole).sum(dim=(2, 3)) / whole.sum(dim=(2, 3))


# ---- the same on every machine, and nobody's to spoil --------------------------------------------------

# Of the test pictures' bytes. They were the same under numpy 1.26 and 2.4, with and without vector instructions.
KNOWN = {
    "faces": "3de40f9376e7", "shapes": "b37289873195", "horses": "6343fdad191e", "fruit": "07a927688f0a", "seasons": "846c20726877",
}


@pytest.mark.parametrize("name", drawn.NAMES)
def test_the_same_pictures_on_every_machine(name, sets):
    pixels = (sets[name].images * 255).round().to(torch.uint8)
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:12] == KNOWN[name]


@pytest.mark.parametrize("name", drawn.NAMES)
def test_only_numbers_that_ieee_rounds_in_one_way(name):
    module, random = drawn._MODULES[name], Random(8, "any")
    attributes = {key: random.choice(len(values)) for key, values in module.VALUES.items()}
    pixels, mask = module.draw(attributes, random)
    assert pixels.dtype == np.float32 and pixels.shape == (3, 8, 32, 32)
    assert mask is None or (mask.dtype == np.float32 and mask.shape == (8, 32, 32))
    assert (mask is not None) == (name in MASKED)


def test_neither_the_seed_nor_the_random_streams_matter(monkeypatch, sets):
    before, stored = torch.get_rng_state(), np.random.get_state()[1].copy()
    drawn._drawn.cache_clear()
    monkeypatch.setenv("COURSE_SEED", "3")
    torch.manual_seed(7)
    torch.set_rng_state(before)
    for name in ("shapes", "fruit"):
        assert data.load(name, "test").fingerprint() == sets[name].fingerprint()
    assert torch.equal(before, torch.get_rng_state()) and np.array_equal(stored, np.random.get_state()[1])


def test_writing_into_ones_pictures_changes_nobody_elses(sets):
    mine = data.load("fruit", "test")
    for values in (mine.images, mine.masks, mine.labels, *mine.attributes.values()):
        values.zero_()
    mine.attributes.clear()
    assert data.load("fruit", "test").fingerprint() == sets["fruit"].fingerprint()


@pytest.mark.parametrize("name", drawn.NAMES)
def test_no_picture_comes_twice(name, sets, trained):
    seen = [one.numpy().tobytes() for part in (trained[name], sets[name]) for one in part.images.half()]
    assert len(set(seen)) == len(seen)


def test_sizes_shapes_and_classes(sets, trained):
    assert data.names()[-5:] == drawn.NAMES == ("faces", "shapes", "horses", "fruit", "seasons")
    for name in drawn.NAMES:
        train, test = trained[name], sets[name]
        assert isinstance(train, AttributeSet) and train.name == name and train.shape == drawn.SHAPE == (3, 32, 32)
        assert len(train) == drawn._MODULES[name].SIZES["train"] >= 4 * len(test) - 2_000
        assert train.values == drawn.values(name) and train.classes == test.classes
        assert (train.captions is not None) == (name == "shapes")
        if name in CLASS:
            assert train.classes == train.values[CLASS[name]] and torch.equal(train.labels, train.attributes[CLASS[name]])
    assert len(trained["faces"]) == 10_000 and len(sets["faces"]) == 2_000
    for gender, smile in itertools.product(("woman", "man"), ("serious", "smiling")):
        chosen = sets["faces"].where(gender=gender, smile=smile)
        assert torch.equal(chosen.images, sets["faces"].of(f"smiling {gender}" if smile == "smiling" else gender).images)


# ---- attributes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", drawn.NAMES)
def test_attributes_are_even_and_independent_of_each_other(name, sets, trained):
    for part in (trained[name], sets[name]):
        for (one, a), (other, b) in itertools.combinations(part.attributes.items(), 2):
            rows, columns = len(part.values[one]), len(part.values[other])
            share = torch.bincount(a * columns + b, minlength=rows * columns).double() / len(part)
            if {one, other} == {"colour", "shape"} and part is trained[name]:
                continue  # pairs are missing there on purpose
            share = share.reshape(rows, columns)
            product = share.sum(dim=1, keepdim=True) * share.sum(dim=0)
            assert ((share - product).abs() < 4.5 * (product * (1 - product) / len(part)).sqrt()).all(), (one, other)
            assert part is trained["shapes"] or (product * rows * columns - 1).abs().max() < 0.25, (one, other)


@pytest.mark.parametrize("name", drawn.NAMES)
def test_a_changed_attribute_changes_the_picture_and_no_other_attribute(name, sets):
    module, few = drawn._MODULES[name], sets[name].take(canvas.CHUNK)
    for key, values in few.values.items():
        for number, value in enumerate(values):
            other = drawn._as_set(name, drawn._chunk(module, "test", {key: value}, Random(canvas.CHUNK, name, "test", 0)))
            was = few.attributes[key] == number
            assert (other.attributes[key] == number).all()
            assert all(torch.equal(other.attributes[k], few.attributes[k]) for k in other.values if k != key)
            assert torch.equal(other.images[was], few.images[was])
            assert ((other.images - few.images).abs().amax(dim=(1, 2, 3))[~was] > 0.1).all(), (key, value)


def test_changed_pictures_are_the_whole_split(sets):
    other, here = changed("fruit", "test", fruit="apple", leaf="leaf"), sets["fruit"]
    was = (here.attributes["fruit"] == 0) & (here.attributes["leaf"] == 1)
    assert len(other) == len(here) and torch.equal(other.images[was], here.images[was]) and (other.labels == 0).all()
    assert changed("shapes", "test", size="small").captions is None


def test_smile_and_glasses_are_where_they_belong(sets):
    for key, values, rows in (("smile", ("serious", "smiling"), slice(15, 31)), ("glasses", ("no glasses", "glasses"), slice(6, 23))):
        a, b = (changed("faces", "test", **{key: value}).images for value in values)
        gap = (a - b).abs().amax(dim=1)
        elsewhere = torch.ones(32, dtype=torch.bool)
        elsewhere[rows] = False
        assert (gap[:, elsewhere] == 0).all() and (gap[:, rows].mean(dim=(1, 2)) > 0.008).all()


def test_teeth_long_hair_and_red_lips(sets):
    white = lambda name: changed("faces", "test", smile=name).images[:, :, 18:27, 10:22].amin(dim=1).amax(dim=(1, 2))  # noqa: E731
    assert (white("smiling") > 0.85).float().mean() > 0.97 and white("smiling").mean() > white("serious").mean() + 0.2
    women, men = (changed("faces", "test", gender=name, hair="red", background="blue").images for name in ("woman", "man"))
    beside = lambda x: (x[:, 0, 20:26, 2:30] > x[:, 2, 20:26, 2:30] + 0.1).float().mean(dim=(1, 2))  # red or skin, not blue  # noqa: E731
    assert (beside(women) > beside(men)).all()


def test_colours_measured_in_the_picture_agree_with_the_attributes(sets):
    faces_, fruits, shapes_ = sets["faces"], sets["fruit"], sets["shapes"]
    corner = faces_.images[:, :, 1:4, 0:2].mean(dim=(2, 3))
    assert (nearest(corner, faces.BACKGROUND) == faces_.attributes["background"]).float().mean() > 0.99
    brown_or_darker = faces_.images[:, :, 12:14, 15:17].amax(dim=1).mean(dim=(1, 2))  # between the eyes
    means = [brown_or_darker[(faces_.attributes["skin"] == k) & (faces_.attributes["glasses"] == 0)].mean() for k in range(3)]
    assert means[0] > means[1] + 0.1 > means[2] + 0.2
    whole = inside(shapes_.images, shapes_.masks)
    assert torch.equal(nearest(whole, shapes.COLOUR), shapes_.attributes["colour"])
    edge = shapes_.images[:, :, 0, 0]
    assert torch.equal(torch.cdist(edge, torch.tensor(shapes.BACKGROUND)).argmin(dim=1), shapes_.attributes["background"])
    assert torch.equal(nearest(inside(fruits.images, fruits.masks), fruit.PEEL), fruits.attributes["fruit"])
    low = sets["seasons"].images[:, :, -2:].mean(dim=(1, 2, 3))
    assert torch.equal((low > 0.72).long(), sets["seasons"].attributes["season"])


def test_hair_has_its_colour(sets):
    crown = sets["faces"].images[:, :, 3:7, 12:20].mean(dim=(2, 3))
    light = crown.amax(dim=1)
    table = torch.tensor(faces.HAIR)
    found = torch.cdist(crown, table).argmin(dim=1)
    assert (found == sets["faces"].attributes["hair"]).float().mean() > 0.95
    assert light[sets["faces"].attributes["hair"] == 2].mean() > 3 * light[sets["faces"].attributes["hair"] == 0].mean()


def test_sizes_of_shapes(sets):
    area = sets["shapes"].masks.sum(dim=(1, 2, 3))
    small = sets["shapes"].attributes["size"] == 0
    assert area[small].max() < 0.75 * area[~small].min() and area[small].min() > 35
    frame = torch.ones(32, 32, dtype=torch.bool)
    frame[1:-1, 1:-1] = False
    assert sets["shapes"].masks[:, 0, frame].max() < 0.6  # it lies within the picture


# ---- masks ----------------------------------------------------------------------------------------------


def test_another_animal_has_the_same_outline_and_leaves_the_meadow_as_it_was(sets):
    horse, zebra = (changed("horses", "test", animal=name) for name in ("horse", "zebra"))
    assert torch.equal(horse.masks, zebra.masks)
    gap = (horse.images - zebra.images).abs().amax(dim=1, keepdim=True)
    assert gap[horse.masks == 0].max() < 1.5 / 255 and gap[horse.masks > 0.999].mean() > 0.2
    stripes = lambda one: (one.images[:, 0, :, 1:] - one.images[:, 0, :, :-1]).abs()[one.masks[:, 0, :, 1:] > 0.999].mean()  # noqa: E731
    assert stripes(zebra) > 3 * stripes(horse)


def test_animals_face_where_they_say(sets):
    left, right = (changed("horses", "test", facing=side, head="high").masks[:, 0, :9].sum(dim=1) for side in ("left", "right"))
    column = torch.arange(32.0)
    middle = lambda mass: (mass * column).sum(dim=1) / mass.sum(dim=1)  # of what is above the back: neck and head  # noqa: E731
    tall = (left.sum(dim=1) > 1) & (right.sum(dim=1) > 1)
    assert tall.float().mean() > 0.9 and (middle(left)[tall] < 13).all() and (middle(right)[tall] > 18).all()


def test_another_fruit_leaves_the_ground_as_it_was(sets):
    apple, orange = (changed("fruit", "test", fruit=name) for name in ("apple", "orange"))
    outside = (apple.masks == 0) & (orange.masks == 0)
    gap = (apple.images - orange.images).abs().amax(dim=1, keepdim=True)
    assert gap[outside].max() < 1.5 / 255 and gap[(apple.masks > 0.999) & (orange.masks > 0.999)].mean() > 0.2
    shared = torch.minimum(apple.masks, orange.masks).sum(dim=(1, 2, 3)) / torch.maximum(apple.masks, orange.masks).sum(dim=(1, 2, 3))
    assert shared.min() > 0.75  # nearly the same outline: it can be kept by a translation
    for name in MASKED:
        masks = sets[name].masks
        share = (masks > 0.5).float().mean(dim=(1, 2, 3))
        assert masks.shape == (len(sets[name]), 1, 32, 32) and share.min() > 0.03 and share.max() < 0.75


# ---- what carries the attributes along --------------------------------------------------------------------


def same(part: AttributeSet, whole: AttributeSet, rows: list[int]) -> bool:
    """Whether ``part`` is the pictures ``rows`` of ``whole`` in every respect."""
    tensors = [(part.images, whole.images), (part.labels, whole.labels), (part.masks, whole.masks)]
    tensors += [(part.attributes[key], whole.attributes[key]) for key in whole.values]
    return all(torch.equal(a, b[rows]) for a, b in tensors) and part.captions == tuple(whole.captions[i] for i in rows)


def test_choosing_pictures_takes_everything_along(sets):
    whole = sets["shapes"].take(60)
    assert same(whole.take(7), whole, list(range(7)))
    assert same(whole.take(torch.tensor([5, 3, 3])), whole, [5, 3, 3])
    assert same(whole.take(whole.labels == 2), whole, (whole.labels == 2).nonzero().flatten().tolist())
    assert same(whole.of("star"), whole, (whole.labels == 3).nonzero().flatten().tolist())
    assert same(whole.take(9, generator=stream()), whole, torch.randperm(60, generator=stream())[:9].tolist())
    assert same(whole.to("cpu"), whole, list(range(60)))
    chosen = whole.where(colour=("red", "blue"), size="small")
    rows = [i for i, text in enumerate(whole.captions) if (said := grammar.parse(text))["colour"] in ("red", "blue") and said["size"] == "small"]
    assert len(rows) > 3 and same(chosen, whole, rows)
    assert repr(whole) == "AttributeSet(shapes: 60 pictures 3x32x32, 4 classes, cpu)"


def test_the_fingerprint_notices_attributes_masks_and_captions(sets):
    from dataclasses import replace

    whole = sets["shapes"].take(20)
    others = [
        replace(whole, attributes=whole.attributes | {"size": 1 - whole.attributes["size"]}), replace(whole, masks=1 - whole.masks),
        replace(whole, captions=whole.captions[:-1] + ("a red star",)), replace(whole, captions=None), replace(whole, masks=None),
    ]
    assert len({one.fingerprint() for one in (whole, *others)}) == 6
    assert replace(whole).fingerprint() == whole.fingerprint()


@pytest.mark.parametrize("wrong, message", [
    ({"attributes": {"shape": torch.zeros(5, dtype=torch.int64)}}, "values: expected the names of the attributes, shape, got shape, colour"),
    ({"masks": torch.zeros(5, 1, 16, 16)}, r"masks: expected the shape \(5, 1, 32, 32\), got the shape \(5, 1, 16, 16\)"),
    ({"masks": torch.full((5, 1, 32, 32), 2.0)}, r"masks: expected values in \[0, 1\]"),
    ({"captions": ("a red star",)}, "captions: expected one for each of 5 pictures, got 1"),
])
def test_a_set_refuses_what_does_not_fit(sets, wrong, message):
    from dataclasses import replace

    with pytest.raises(ValueError, match=message):
        replace(sets["shapes"].take(5), **wrong)
    attributes = sets["shapes"].take(5).attributes | {"size": torch.full((5,), 2)}
    with pytest.raises(ValueError, match=r"attributes\['size'\]: expected class numbers from 0 to 1, got 2 to 2"):
        replace(sets["shapes"].take(5), attributes=attributes)


@pytest.mark.parametrize("attempt, message", [
    (lambda: drawn.load("cats"), "name: expected one of faces, shapes, horses, fruit, seasons, got 'cats'"),
    (lambda: drawn.load("faces", "valid"), "split: expected one of train, test, got 'valid'"),
    (lambda: data.load("shapes", "judge"), "split: expected one of train, test, got 'judge'"),
    (lambda: drawn.values("digits"), "name: expected one of faces"),
    (lambda: changed("faces", smile="broad"), "smile: expected one of serious, smiling, got 'broad'"),
    (lambda: changed("faces", beard="long"), "attribute: expected one of gender, smile, glasses, hair, skin, background, got 'beard'"),
    (lambda: data.load("fruit", "test").where(fruit="pear"), "fruit: expected one of apple, orange, got 'pear'"),
    (lambda: data.load("fruit", "test").where(colour="red"), "attribute: expected one of fruit, leaf, background, got 'colour'"),
    (lambda: data.load("shapes").where(colour="red", shape="star"), "wanted: expected values that some picture of shapes has"),
])
def test_names_that_do_not_exist(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


# ---- captions ---------------------------------------------------------------------------------------------


def combinations() -> list[dict[str, str]]:
    return [dict(zip(captions.VALUES, values)) for values in itertools.product(*captions.VALUES.values())]


def test_parse_undoes_every_sentence():
    count = 0
    for wanted in combinations():
        sentences = grammar.sentences(**wanted)
        assert len(set(sentences)) == len(sentences) >= 10
        assert all(grammar.parse(sentence) == wanted for sentence in sentences)
        count += len(sentences)
    assert len(combinations()) == 160 and count > 4_000


def test_captions_say_what_is_in_the_picture_in_many_ways(trained, sets):
    for part in (trained["shapes"], sets["shapes"]):
        for key, numbers in part.attributes.items():
            said = [grammar.parse(text)[key] for text in part.captions]
            assert said == [part.values[key][number] for number in numbers.tolist()]
    small = {" ".join(word for word in text.split() if word.strip(",") not in grammar.meaning) for text in trained["shapes"].captions}
    assert len(small) == len(captions.PATTERNS)
    assert set(" ".join(trained["shapes"].captions).replace(",", "").split()) == set(grammar.vocabulary)


def test_the_kept_out_pairs_are_in_no_training_picture_and_no_caption_and_in_the_test(trained, sets):
    assert not unseen(trained["shapes"].attributes).any()
    share = unseen(sets["shapes"].attributes).float().mean()
    assert abs(share - len(captions.UNSEEN) / 20) < 0.04
    for colour, shape in captions.UNSEEN:
        pair = lambda text, c=colour, s=shape: (said := grammar.parse(text))["colour"] == c and said["shape"] == s  # noqa: E731
        assert not any(map(pair, trained["shapes"].captions)) and sum(map(pair, sets["shapes"].captions)) > 50
    pairs = trained["shapes"].attributes["colour"] * 4 + trained["shapes"].attributes["shape"]
    counts = torch.bincount(pairs, minlength=20)
    assert (counts > 0).sum() == 16 and counts[counts > 0].min() > 0.8 * 6_000 / 16
    assert unseen(drawn.load("shapes", "judge").attributes).any()  # the judge has to know them


def test_encoding_is_one_number_a_word():
    assert len(set(grammar.vocabulary)) == len(grammar.vocabulary)
    rows = grammar.encode(["a red star", "A tiny RED star, on grey."])
    assert rows.shape == (2, grammar.length) and rows.dtype == torch.int64
    words = [[grammar.vocabulary[i - 1] for i in row.tolist() if i > 0] for row in rows]
    assert words == [["a", "red", "star"], ["a", "tiny", "red", "star", "on", "grey"]]
    assert (rows[0, 3:] == 0).all()
    everything = grammar.encode([sentence for wanted in combinations() for sentence in grammar.sentences(**wanted)])
    assert everything.max() == len(grammar.vocabulary) and len(torch.unique(everything, dim=0)) == len(everything)


def test_writing_is_one_of_the_sentences_by_chance():
    wanted = {"shape": "star", "colour": "purple", "size": "large", "background": "grey"}
    written = {grammar.write(stream(seed), **wanted) for seed in range(40)}
    assert written <= set(grammar.sentences(**wanted)) and len(written) > 20
    assert grammar.write(stream(1), **wanted) == grammar.write(stream(1), **wanted)


def test_a_caption_may_leave_something_out():
    assert grammar.parse("a little star") == {"shape": "star", "size": "small"}


@pytest.mark.parametrize("caption, message", [
    ("a red elephant", r"caption: expected words that the grammar knows \(shape: circle, square, triangle, star, disc; colour: red.*\), got 'elephant'"),
    ("a red blue star", "caption: expected one colour, got red and blue"),
    ("a small huge disc", "caption: expected one size, got small and large"),
    (" , ", "caption: expected at least one word"),
    (None, "caption: expected a sentence, got None"),
])
def test_captions_that_cannot_be_read(caption, message):
    with pytest.raises(ValueError, match=message):
        grammar.parse(caption)
    with pytest.raises(ValueError, match="caption"):
        grammar.encode([caption, "a " * 3 + "red blue star " * 3])


def test_the_grammar_refuses_what_it_cannot_say_or_encode():
    for wanted, message in (({"shape": "star"}, "wanted: expected a value for each of shape, colour, size, background"),
                            (dict(shape="cube", colour="red", size="small", background="grey"), "shape: expected one of circle")):
        with pytest.raises(ValueError, match=message):
            grammar.sentences(**wanted)
    for bad in ("a red star", []):
        with pytest.raises(ValueError, match="captions: expected at least one, in a list"):
            grammar.encode(bad)
    with pytest.raises(ValueError, match="captions: expected at most 10 words, got 11"):
        grammar.encode(["a " * 11])


# ---- edges, grey -------------------------------------------------------------------------------------------


def test_grey_is_the_luma_of_pure_colours():
    pure = torch.eye(3).reshape(3, 3, 1, 1).expand(3, 3, 4, 4)
    torch.testing.assert_close(grey(pure)[:, 0, 0, 0], torch.tensor([0.299, 0.587, 0.114]))
    for level in (0.0, 0.3, 1.0):
        torch.testing.assert_close(grey(torch.full((2, 3, 4, 4), level)), torch.full((2, 1, 4, 4), level))


def test_edges_are_where_the_step_is_and_nowhere_else():
    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 1
    want = torch.zeros(1, 1, 8, 8)
    want[..., 3:5] = 1
    assert torch.equal(edges(step), want) and torch.equal(edges(step.transpose(2, 3)), want.transpose(2, 3))
    assert edges(torch.full((1, 3, 8, 8), 0.7)).max() == 0
    faint = 0.5 + 0.1 * step
    assert edges(faint).max() == 0 and edges(faint, low=0.05, high=0.15).max() == pytest.approx(0.5, abs=1e-5)


def test_an_edge_between_colours_of_one_brightness_is_seen(sets):
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0, :, :4], red[:, 1, :, 4:] = 0.587, 0.299
    assert grey(red).std() < 1e-6 and edges(red)[..., 3:5].min() > 0.3
    lines = edges(sets["faces"].images)
    assert lines.shape == (2_000, 1, 32, 32) and 0.1 < lines.mean() < 0.4 and lines.min() == 0 and lines.max() == 1


def test_filters_refuse_what_is_no_picture():
    for bad, message in ((torch.zeros(2, 1, 8, 8), "pictures: expected 3 channels, got 1"), (torch.zeros(3, 8, 8), "pictures: expected the shape")):
        with pytest.raises(ValueError, match=message):
            grey(bad)
    with pytest.raises(ValueError, match="pictures: expected values"):
        edges(torch.full((2, 3, 8, 8), -1.0))
    with pytest.raises(ValueError, match="low, high: expected 0 <= low < high"):
        edges(torch.zeros(2, 3, 8, 8), low=0.5, high=0.5)


# ---- the brushes --------------------------------------------------------------------------------------------


def test_signed_distances_at_points_where_they_are_known():
    x, y = (np.array(values, np.float32) for values in ((0, 3, 5, 5, 2), (0, 0, 0, 6, 0)))
    np.testing.assert_allclose(canvas.box(x, y, 3, 2), [-2, 0, 2, math.hypot(2, 4), -1], atol=1e-6)
    np.testing.assert_allclose(canvas.bar(x, y, (0, 0), (4, 0), 1), [-1, -1, 0, math.hypot(1, 6) - 1, -1], atol=1e-6)
    np.testing.assert_allclose(canvas.ellipse(x[1:], y[1:], 4, 4), np.hypot(x, y)[1:] - 4, atol=1e-4)
    np.testing.assert_allclose(canvas.stripes(np.array([0, 1, 2, 3, 4], np.float32), 4), [1, 0, -1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(canvas.cover(np.array([-2, -0.25, 0, 0.5], np.float32)), [1, 0.75, 0.5, 0], atol=1e-6)


def test_the_star_has_five_equal_points_and_the_triangle_three():
    point = np.random.default_rng(0).uniform(-12, 12, size=(2, 500)).astype(np.float32)
    for distance, turns, around in ((shapes._star, 5, 0.0), (shapes._triangle, 3, 2.0)):
        angle = 2 * math.pi / turns
        turned = np.stack([math.cos(angle) * point[0] - math.sin(angle) * point[1], math.sin(angle) * point[0] + math.cos(angle) * point[1]])
        a, b = (distance(p[0].astype(np.float32), (p[1] + around).astype(np.float32), np.float32(10)) for p in (point, turned))
        np.testing.assert_allclose(a, b, atol=1e-3)
    assert shapes._star(*np.zeros((2, 1), np.float32), np.float32(10)) < -4


def test_coordinates_undo_shift_scale_and_tilt():
    plain_x, plain_y = canvas.coordinates()
    assert plain_x[0, 0, 16] == plain_y[0, 16, 0] == 0.5 and plain_x.dtype == np.float32
    x, y = canvas.coordinates(2, -3, 2, 0.75)  # a turn by the angle of the triangle 3, 4, 5
    back_x, back_y = 2 * (0.8 * x - 0.6 * y) + 2, 2 * (0.6 * x + 0.8 * y) - 3
    np.testing.assert_allclose(back_x, np.broadcast_to(plain_x, back_x.shape), atol=1e-4)
    np.testing.assert_allclose(back_y, np.broadcast_to(plain_y, back_y.shape), atol=1e-4)


def test_random_numbers_are_even_and_depend_on_every_part_of_the_seed():
    numbers = Random(20_000, "a", 1)
    choice, share = numbers.choice(5), numbers.between(2, 4)
    assert np.bincount(choice).min() > 3_800 and share.min() >= 2 and share.max() <= 4 and abs(share.mean() - 3) < 0.01
    first = [Random(4, *seed).between(0, 1).ravel().tolist() for seed in (("a", 1), ("a", 2), ("b", 1), ("a", 1))]
    assert first[0] == first[3] and first[0] != first[1] != first[2] != first[0]


def test_painting_covers_and_shading_darkens():
    pixels, half = np.full((3, 1, 2, 2), 0.2, np.float32), np.full((1, 2, 2), 0.5, np.float32)
    canvas.paint(pixels, half, (1.0, 0.6, 0.2))
    np.testing.assert_allclose(pixels[:, 0, 0, 0], [0.6, 0.4, 0.2], atol=1e-6)
    canvas.shade(pixels, half, 0.5)
    np.testing.assert_allclose(pixels[:, 0, 0, 0], [0.45, 0.3, 0.15], atol=1e-6)
    assert canvas.levels(np.array([-1, 0, 0.5, 1, 2], np.float32)).tolist() == [0, 0, 128, 255, 255]
