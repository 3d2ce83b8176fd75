"""Where users of attack packages stumble: each tried on each package, with three steps of PGD. Nothing here is known beforehand."""
from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers import Projected, as_tensor

EPS, STEPS = 0.1, 3


class Net(nn.Module):
    """Convolution, batch norm, dropout: everything that can be left changed."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Viewing(Net):
    """As in many a tutorial: ``.view`` puts what the convolution returns in rows, for which its channels have to come first."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net[4:](self.net[:3](x).view(-1, 256))


class InPlace(Net):
    """Normalises its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.sub_(0.5).div_(0.5))


class Lit(Net):
    """Has finite answers everywhere, and where a picture is black a gradient of NaN: 0 times the infinite slope of a root."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.where(x > 0.04, x.sqrt(), 5 * x))


class Case:
    """A fresh net, pictures, labels and epsilon for one try; a try changes what it is about."""

    def __init__(self, pgd: Projected) -> None:
        stream = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model = Net().eval()
        self.pgd, self.eps = pgd, EPS
        self.x, self.y = torch.rand(8, 1, 28, 28, generator=stream), torch.randint(10, (8,), generator=stream)

    def run(self) -> object:
        """What the attack returns."""
        return self.pgd(self.model, self.x, self.y, self.eps, STEPS)


def under_no_grad(case: Case) -> bool:
    with torch.no_grad():
        return bool((as_tensor(case.run()) != case.x).any())


def float64(case: Case) -> bool:
    case.model, case.x = case.model.double(), case.x.double()
    return as_tensor(case.run()).dtype == torch.float64


def mode(case: Case) -> bool:
    case.model.train()
    case.model.net[1].eval()
    before = [part.training for part in case.model.modules()]
    case.run()
    return [part.training for part in case.model.modules()] == before


def statistics(case: Case) -> bool:
    case.model.train()
    before = case.model.net[1].running_mean.clone()
    case.run()
    return torch.equal(case.model.net[1].running_mean, before)


def gradients(case: Case) -> bool:
    F.cross_entropy(case.model(case.x), case.y).backward()
    before = [parameter.grad.clone() for parameter in case.model.parameters()]
    case.run()
    after = [parameter.grad for parameter in case.model.parameters()]
    return all(new is not None and torch.equal(old, new) for old, new in zip(before, after))


def detached(case: Case) -> bool:
    found = case.run()
    return not (isinstance(found, Tensor) and found.requires_grad)


def repeats(case: Case) -> bool:
    torch.manual_seed(1)
    first = as_tensor(case.run())
    torch.manual_seed(2)
    return torch.equal(first, as_tensor(case.run()))


def random_state(case: Case) -> bool:
    before = torch.get_rng_state()
    case.run()
    return torch.equal(before, torch.get_rng_state())


def rows_by_view(case: Case) -> bool:
    case.model = Viewing().eval()
    return bool((as_tensor(case.run()) != case.x).any())


def in_place(case: Case) -> bool:
    case.model, before = InPlace().eval(), case.x.clone()
    found = as_tensor(case.run())
    return torch.equal(case.x, before) and bool((found != before).any())


def within_a_function(case: Case) -> bool:
    net = case.model.train()
    before = net.net[1].running_mean.clone()
    case.model = lambda x: net(x)
    case.run()
    return torch.equal(net.net[1].running_mean, before)


def outside_the_box(case: Case) -> None:
    case.x = 255 * case.x
    case.run()


def nan(case: Case) -> None:
    case.x[0, 0, 3, 3] = torch.nan
    case.run()


def nan_gradient(case: Case) -> None:
    case.model = Lit().eval()
    case.x[:, :, :9] = 0
    case.run()


def label_minus_one(case: Case) -> None:
    case.y[0] = -1
    case.run()


def one_hot(case: Case) -> None:
    case.y = F.one_hot(case.y, 10)
    case.run()


def column_of_labels(case: Case) -> None:
    case.y = case.y[:, None]
    case.run()


def negative_eps(case: Case) -> None:
    case.eps = -EPS
    case.run()


KEEPS: dict[str, Callable[[Case], bool]] = {
    "works under no_grad": under_no_grad, "keeps float64": float64, "leaves the model's mode alone": mode,
    "leaves batch norm's statistics alone": statistics, "leaves parameters' gradients alone": gradients, "returns no graph": detached,
    "repeats whatever the global seed": repeats, "leaves the global random state alone": random_state,
    "works on a model that uses .view": rows_by_view, "works on a model that normalises in place": in_place,
    "leaves a net inside a function alone": within_a_function,
}
REFUSES: dict[str, Callable[[Case], None]] = {
    "refuses pictures outside [0, 1]": outside_the_box, "refuses NaN": nan, "refuses a gradient of NaN": nan_gradient, "refuses a label of -1": label_minus_one,
    "refuses one-hot labels": one_hot, "refuses labels (N, 1)": column_of_labels, "refuses a negative epsilon": negative_eps,
}


def tried(pgd: Projected, what: str) -> str:
    """'yes', 'no', or the name of the error that stands in the way; for a refusal 'yes' means an error or a warning, named too."""
    case = Case(pgd)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if what in KEEPS:
                return "yes" if KEEPS[what](case) else "no"
            REFUSES[what](case)
        except Exception as error:  # noqa: BLE001  whatever a package raises is what its user sees
            return ("yes, " if what in REFUSES else "no, ") + type(error).__name__
    told = [one for one in caught if issubclass(one.category, UserWarning) and not issubclass(one.category, DeprecationWarning)]
    return "warns" if told else "no"


def table(packages: dict[str, Projected]) -> list[str]:
    """One line for each stumble, one column for each package."""
    found = {what: [tried(pgd, what) for pgd in packages.values()] for what in [*KEEPS, *REFUSES]}
    widths = [max(len(text) for text in [name, *column]) for name, column in zip(packages, zip(*found.values()))]
    first = max(map(len, found))
    line = lambda what, cells: "  ".join([f"{what:{first}}", *(f"{cell:{width}}" for cell, width in zip(cells, widths))]).rstrip()  # noqa: E731
    return [line("", packages), *(line(what, cells) for what, cells in found.items())]
