"""Photographs and the pretrained net: crops, scaling inside the model, and what happens without a network."""
from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
from torchvision import models

from course_utils.models import imagenet


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No weights on disk, and no way to get them."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COURSE_DEVICE", "cpu")

    def refuse(*_arguments, **_options):
        raise URLError("no network here")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    return tmp_path


def test_photographs_are_crops_of_both_pictures():
    five = imagenet.photographs(5)
    assert five.shape == (5, 3, imagenet.SIDE, imagenet.SIDE) and 0 <= five.min() and five.max() <= 1
    temple, flower = five[::2], five[1::2]
    assert temple.mean((1, 2, 3)).min() > flower.mean((1, 2, 3)).max()  # by day; a flower before dark leaves
    assert len({picture.sum().item() for picture in five}) == 5
    assert torch.equal(imagenet.photographs(2), five[:2])


def test_the_model_scales_pictures_as_imagenet_nets_want_them():
    class Echo(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    model = imagenet.Normalised(Echo())
    grey = torch.tensor(imagenet.MEAN).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    torch.testing.assert_close(model(grey), torch.zeros(1, 3))
    torch.testing.assert_close(model(torch.ones(1, 3, 4, 4))[0], (1 - torch.tensor(imagenet.MEAN)) / torch.tensor(imagenet.STD))


def test_without_a_network_the_message_says_what_to_put_where(offline):
    with pytest.raises(RuntimeError) as raised:
        imagenet.pretrained("mobilenet_v3_small")
    message = str(raised.value)
    for wanted in ("mobilenet_v3_small", "no network here", str(offline / "weights" / "checkpoints"), ".pth", "without the photographs"):
        assert wanted in message
    assert torch.hub.get_dir() != str(offline / "weights")


def test_without_a_network_the_gallery_is_empty_and_says_why(offline, capsys):
    assert imagenet.gallery(2) == {}
    assert "could not be downloaded" in capsys.readouterr().out


def test_no_photographs_ask_for_no_network(offline, capsys):
    assert imagenet.gallery(0) == {}
    assert capsys.readouterr().out == ""


def test_with_weights_the_gallery_names_what_the_net_answers(offline, monkeypatch):
    torch.manual_seed(0)
    weights = models.get_model_weights("mobilenet_v3_small").DEFAULT
    folder = offline / "weights" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(models.mobilenet_v3_small(weights=None).state_dict(), folder / weights.url.rpartition("/")[2])
    before = torch.hub.get_dir()
    found = imagenet.gallery(2, "mobilenet_v3_small")["photographs"]
    assert torch.hub.get_dir() == before
    assert len(found.classes) == 1000 and "panda" in " ".join(found.classes) and found.pictures.shape[0] == 2
    assert torch.equal(found.labels, found.model(found.pictures).argmax(1)) and not found.model.training


@pytest.mark.parametrize("wrong, message", [
    (lambda: imagenet.photographs(0), "count"), (lambda: imagenet.gallery(-1), "count"), (lambda: imagenet.pretrained("panda_net"), "name: expected one of torchvision's classifiers")])
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
