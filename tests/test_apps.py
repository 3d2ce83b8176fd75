"""Made-up apps: their truth, and what may be added to them."""
from __future__ import annotations

import pytest
import torch

from course_utils.data import apps, load

TRAIN, TEST = apps.load(), apps.load("test")


@pytest.mark.parametrize("data", [TRAIN, TEST])
def test_the_labels_are_the_truth(data):
    assert torch.equal(apps.malicious(data.images), data.labels == 1)
    assert 0.45 < data.labels.double().mean() < 0.55 and set(data.images.unique().tolist()) == {0.0, 1.0}


def test_they_are_always_the_same_and_no_app_is_in_both_parts():
    assert apps.load().fingerprint() == TRAIN.fingerprint() == load("apps").fingerprint()
    known = {tuple(row) for row in TRAIN.images.flatten(1).tolist()}
    assert not known & {tuple(row) for row in TEST.images.flatten(1).tolist()}


def test_features_have_names_that_differ():
    assert len(set(apps.FEATURES)) == len(apps.FEATURES) == TRAIN.images.shape[3]
    for names in (*apps.PAYLOADS.values(), *apps.KINDS.values()):
        assert set(names.split()) <= set(apps.FEATURES)


def test_what_may_be_added_is_the_manifest_and_makes_nobody_malicious_or_honest():
    assert TRAIN.addable.shape == (1, 1, len(apps.FEATURES))
    assert [name for name, free in zip(apps.FEATURES, TRAIN.addable.flatten()) if not free] == [name for name in apps.FEATURES if name.startswith("call.")]
    everything = torch.maximum(TEST.images, TEST.addable.float())
    assert torch.equal(apps.malicious(everything)[TEST.labels == 1], torch.ones(int((TEST.labels == 1).sum()), dtype=torch.bool))
    for names in apps.PAYLOADS.values():
        assert any(name.startswith("call.") for name in names.split()), "a payload that the manifest alone could make"


def test_without_any_one_piece_of_its_payload_an_app_does_no_harm():
    for names in apps.PAYLOADS.values():
        places = [apps.FEATURES.index(name) for name in names.split()]
        app = torch.zeros(1, 1, 1, len(apps.FEATURES))
        app[..., places] = 1
        assert apps.malicious(app).item()
        for place in places:
            less = app.clone()
            less[..., place] = 0
            assert not apps.malicious(less).item()


def test_honest_apps_have_single_pieces_of_payloads():
    places = [apps.FEATURES.index(name) for names in apps.PAYLOADS.values() for name in names.split()]
    assert (TRAIN.images[TRAIN.labels == 0][..., places].mean((0, 1, 2)) > 0.01).all()


def test_chosen_apps_keep_their_features():
    some = TRAIN.of("malware").take(5)
    assert isinstance(some, apps.AppSet) and some.features == apps.FEATURES and some.labels.tolist() == [1] * 5


@pytest.mark.parametrize("call, argument", [
    (lambda: apps.load("valid"), "split"), (lambda: apps.malicious(torch.zeros(2, 1, 1, 5)), "images"), (lambda: apps.malicious(torch.full((1, 1, 1, len(apps.FEATURES)), 2.0)), "images"),
])
def test_bad_input_is_refused_by_name(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected .+, got "):
        call()
