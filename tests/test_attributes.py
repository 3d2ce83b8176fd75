"""The judge of the drawn pictures: what it gets right, what it must not be fooled by, where it is kept."""
from __future__ import annotations

import pytest
import torch

from course_utils.data import drawn, load
from course_utils.data.drawn import changed, unseen
from course_utils.gan import metrics
from course_utils.gan.metrics import attribute_judge
from course_utils.gan.metrics.judge import judge_accuracy
from course_utils.models.attribute_net import AttributeNet


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A cache of its own, few steps of training; the judges trained before are left alone."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(attribute_judge, "_STEPS", {name: 3 for name in drawn.NAMES})
    metrics.attribute_net.cache_clear()
    metrics.feature_net.cache_clear()
    yield tmp_path
    metrics.attribute_net.cache_clear()
    metrics.feature_net.cache_clear()


@pytest.mark.parametrize("name", drawn.NAMES)
def test_the_judge_gets_every_attribute_right(name):
    right = metrics.attribute_accuracy(name)
    assert right.keys() == drawn.values(name).keys()
    assert min(right.values()) >= 0.98, right


@pytest.mark.parametrize("name, key", [("faces", "smile"), ("faces", "gender"), ("faces", "glasses"), ("horses", "animal"), ("seasons", "season")])
def test_the_judge_looks_at_the_attribute_and_not_at_what_comes_with_it(name, key):
    few = slice(0, 300)
    for number, value in enumerate(drawn.values(name)[key]):
        other = changed(name, "test", **{key: value}).take(300)
        seen = metrics.attributes(name, other.images)
        assert (seen[key] == number).float().mean() >= 0.98
        for rest in drawn.values(name).keys() - {key}:
            assert (seen[rest] == load(name, "test").attributes[rest][few]).float().mean() >= 0.97


def test_the_judge_knows_the_pairs_that_generators_never_see():
    test = load("shapes", "test")
    new = test.take(unseen(test.attributes))
    seen = metrics.attributes("shapes", new.images)
    assert min((seen[key] == truth).float().mean() for key, truth in new.attributes.items()) >= 0.97


@pytest.mark.parametrize("name", drawn.NAMES)
def test_the_judge_bears_a_little_blur_and_noise(name):
    test = load(name, "test").take(500)
    soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(test.images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    rough = (test.images + 0.06 * torch.randn(test.images.shape, generator=stream())).clamp(0, 1)
    for pictures in (soft, rough):
        seen = metrics.attributes(name, pictures)
        assert min((seen[key] == truth).float().mean() for key, truth in test.attributes.items()) >= 0.95


def test_probabilities_belong_to_the_answers():
    pictures = load("faces", "test").images[:40]
    likely, seen = metrics.attribute_probabilities("faces", pictures, batch=7), metrics.attributes("faces", pictures)
    for key, values in drawn.values("faces").items():
        assert likely[key].shape == (40, len(values)) and seen[key].shape == (40,) and seen[key].dtype == torch.int64
        torch.testing.assert_close(likely[key].sum(dim=1), torch.ones(40))
        assert torch.equal(likely[key].argmax(dim=1), seen[key]) and not likely[key].requires_grad


def test_the_distance_of_pictures_sees_what_is_missing_blurred_or_noise():
    train, test = load("faces").take(1_000), load("faces", "test").take(1_000)
    seen = metrics.features("faces", test.images)
    assert seen.shape == (1_000, 64) and metrics.feature_net("faces") is metrics.attribute_net("faces")
    soft = torch.nn.functional.avg_pool2d(test.images, 3, 1, 1)
    far = {name: metrics.picture_distance("faces", pictures, train.images) for name, pictures in {
        "test": test.images, "no smiles": load("faces").where(smile="serious").take(1_000).images, "blurred": soft,
        "one face": test.images[:1].expand(1_000, -1, -1, -1), "noise": torch.rand(1_000, 3, 32, 32, generator=stream()),
    }.items()}
    assert 3 * far["test"] < min(far["no smiles"], far["blurred"]) < max(far["one face"], far["noise"])


def test_the_judge_is_kept_and_found_again(elsewhere, monkeypatch):
    seen = metrics.features("fruit", load("fruit", "test").images)
    kept = list((elsewhere / "judges").glob("fruit-attributes-*.pt"))
    assert len(kept) == 1
    metrics.attribute_net.cache_clear()
    metrics.feature_net.cache_clear()
    train = attribute_judge._train
    monkeypatch.setattr(attribute_judge, "_train", lambda net, data, steps: pytest.fail("trained again"))
    assert torch.equal(metrics.features("fruit", load("fruit", "test").images), seen)
    metrics.attribute_net.cache_clear()
    monkeypatch.setattr(attribute_judge, "_train", train)
    monkeypatch.setattr(attribute_judge, "_STEPS", {"fruit": 2})  # another recipe: the kept judge is not taken for it
    metrics.attribute_net("fruit")
    assert len(list((elsewhere / "judges").glob("fruit-attributes-*.pt"))) == 2


def test_the_judge_does_not_depend_on_the_seed_nor_move_it(elsewhere, monkeypatch):
    found = []
    for seed in ("0", "3"):
        monkeypatch.setenv("COURSE_SEED", seed)
        monkeypatch.setenv("COURSE_DATA_DIR", str(elsewhere / seed))
        metrics.attribute_net.cache_clear()
        torch.manual_seed(int(seed))
        before = torch.get_rng_state()
        with torch.no_grad():  # also where the caller wants no gradients
            net = metrics.attribute_net("fruit")
        assert torch.equal(before, torch.get_rng_state())
        assert not net.training and not any(parameter.requires_grad for parameter in net.parameters())
        found.append(net.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(found[0].values(), found[1].values()))


def test_the_judges_batches_take_every_picture_once():
    rows = attribute_judge._rows(200, stream())
    first = torch.cat([next(rows) for _ in range(3)])
    assert len(first) == 192 == len(first.unique()) and len(next(rows)) == 64


@pytest.mark.parametrize("attempt, message", [
    (lambda: metrics.attribute_net("digits"), "name: expected one of faces, shapes, horses, fruit, seasons, got 'digits'"),
    (lambda: metrics.attributes("faces", torch.rand(2, 1, 28, 28)), r"pictures: expected the shape \(N, 3, 32, 32\), got the shape \(2, 1, 28, 28\)"),
    (lambda: metrics.attributes("faces", torch.rand(2, 3, 32, 32) - 1), r"pictures: expected values in \[0, 1\]"),
    (lambda: judge_accuracy("faces"), "name: expected a data set with classes only .attribute_accuracy is for drawn ones., got 'faces'"),
])
def test_what_the_judge_refuses(attempt, message, elsewhere):
    with pytest.raises(ValueError, match=message):
        attempt()


def test_an_attribute_net_answers_every_attribute():
    net = AttributeNet((1, 9, 17), {"a": 2, "b": 5}, width=8)
    x = torch.rand(4, 1, 9, 17, generator=stream())
    assert {name: tuple(logits.shape) for name, logits in net(x).items()} == {"a": (4, 2), "b": (4, 5)}
    assert net.features(x).shape == (4, 8) and net.features(x).min() >= 0


@pytest.mark.parametrize("wrong, message", [
    (dict(shape=(3, 7, 32)), "H: expected a whole number of at least 8, got 7"),
    (dict(shape=(0, 8, 8)), "C: expected"),
    (dict(values={}), "values: expected at least one attribute"),
    (dict(values={"a": 1}), r"values\['a'\]: expected a whole number of at least 2, got 1"),
    (dict(width=0), "width: expected"),
])
def test_an_attribute_net_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        AttributeNet(**{"shape": (3, 32, 32), "values": {"a": 2}, **wrong})
