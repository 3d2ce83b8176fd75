"""What the owner of an unknown model does: keeps a part of the data, trains on it, and answers with labels."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.data import ImageSet, load
from course_utils.data import names as data_names
from course_utils.training import fit
from course_utils.validate import expect_choice

Predict = Callable[[Tensor], Tensor]  # pictures (N, C, H, W) in [0, 1] -> labels (N,)

OUTSIDERS = 8  # every eighth training picture belongs to the outside world


def part_of(train: ImageSet, owner: bool) -> ImageSet:
    """The pictures of the model's owner, or those that people outside have: every eighth, the same in every run."""
    outside = torch.arange(len(train), device=train.labels.device) % OUTSIDERS == 0
    return train.take(~outside if owner else outside)


def _network(train: ImageSet) -> Predict:
    channels = train.shape[0]
    with train.images.device:
        net = nn.Sequential(
            nn.Conv2d(channels, 24, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.LazyLinear(96), nn.ReLU(), nn.Linear(96, len(train.classes)),
        )
        net(train.images[:1])  # now its layers have their sizes
    fit(net, train, epochs=max(3, 20_000 // len(train)), batch=64, lr=2e-3, progress=False)
    net.eval()
    where = next(net.parameters()).device
    return lambda x: torch.cat([net(part.to(where)).argmax(1) for part in x.split(500)]).cpu()


def _forest(train: ImageSet) -> Predict:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(100, random_state=runtime.base_seed()).fit(train.images.flatten(1).numpy(), train.labels.numpy())
    return lambda x: torch.from_numpy(forest.predict(x.flatten(1).numpy()))


def _neighbours(train: ImageSet) -> Predict:
    from sklearn.neighbors import KNeighborsClassifier

    nearest = KNeighborsClassifier(3).fit(train.images.flatten(1).numpy(), train.labels.numpy())
    return lambda x: torch.from_numpy(nearest.predict(x.flatten(1).numpy()))


RECIPES: dict[str, Callable[[ImageSet], Predict]] = {"network": _network, "forest": _forest, "neighbours": _neighbours}


def expect_known(victim: object, data: object) -> None:
    """Raise ValueError, listing the names, unless there is such a recipe and such a data set."""
    expect_choice(victim, "victim", tuple(RECIPES))
    expect_choice(data, "data", data_names())


def train(victim: str, data: str) -> tuple[Predict, tuple[int, int, int]]:
    """Train the recipe ``victim`` on the owner's part of ``data``: what answers, and the shape of its pictures."""
    expect_known(victim, data)
    runtime.seed()
    own = part_of(load(data), owner=True)
    predict = RECIPES[victim](own)
    return torch.no_grad()(predict), own.shape
