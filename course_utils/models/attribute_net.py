"""A classifier with several questions to answer about one picture."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from course_utils.validate import expect, expect_count

_CHANNELS = (24, 48, 64)


class AttributeNet(nn.Module):
    """Three strided convolutions with batch norm, one hidden layer, and a linear head for each attribute.

    ``shape`` is (C, H, W) of one picture, H and W at least 8; ``values`` says how many values each attribute has.
    ``features`` gives the hidden layer (B, width) after its ReLU.
    """

    def __init__(self, shape: Sequence[int], values: Mapping[str, int], width: int = 64) -> None:
        super().__init__()
        channels, *sides = shape
        for value, name, least in ((channels, "C", 1), (sides[0], "H", 8), (sides[1], "W", 8), (width, "width", 1)):
            expect_count(value, name, least)
        expect(len(values) > 0, "values", "at least one attribute", "none")
        for name, count in values.items():
            expect_count(count, f"values[{name!r}]", 2)
        layers: list[nn.Module] = []
        for out in _CHANNELS:
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            channels, sides = out, [(side + 1) // 2 for side in sides]
        self.hidden = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * sides[0] * sides[1], width), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(width, count) for name, count in values.items()})

    def features(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1] to hidden values (B, width), at least 0."""
        return self.hidden(x - 0.5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Pictures (B, C, H, W) in [0, 1] to attribute -> logits (B, values of that attribute)."""
        features = self.features(x)
        return {name: head(features) for name, head in self.heads.items()}
