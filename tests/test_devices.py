"""Helpers and one step of each training with everything on a GPU, without one: nothing on the CPU gets in between."""
from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from fake_gpu import FakeGPU, a_gpu, is_real
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import attacks, defenses, design, gan, geometry, models, runtime, vat
from course_utils.attacks import Camera
from course_utils.data import ImageSet
from course_utils.data.ring import Ring
from course_utils.defenses.adversarial import from_new_points
from course_utils.gan import LEAST_SQUARES, NON_SATURATING, WASSERSTEIN, Balance, CycleNets, GradientPenalty, Pool, ReconstructionError
from course_utils.gan.metrics import (
    frechet_distance, mode_counts, modes_covered, nearest, overlap, parzen_log_likelihood, sliced_wasserstein,
)
from course_utils.models import RBFClassifier, Stack, mlp, mlp_critic, own_loss
from course_utils.models.words import Reader, language_loss
from course_utils.training import adam, evaluate, fit
from course_utils.training.history import History

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def gpu(monkeypatch, tmp_path) -> Iterator[FakeGPU]:
    """A GPU, a fake one as a rule, with checkpoints in a folder of its own."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COURSE_STATIC", "1")
    torch.manual_seed(0)
    with warnings.catch_warnings(), a_gpu() as there:
        if not is_real():
            warnings.simplefilter("ignore")  # on a GPU a warning is how torch tells of a wait
        yield there


def stream(device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def pictures(count: int = 6, channels: int = 1) -> Tensor:
    """(count, channels, 8, 8)"""
    return torch.rand(count, channels, 8, 8, device="cuda")


def labels(count: int = 6) -> Tensor:
    return torch.arange(count, device="cuda") % 3


def classifier() -> nn.Module:
    return models.ConvNet((1, 8, 8), 3).to("cuda")


def points(*shape: int) -> Tensor:
    return torch.rand(*(shape or (8, 2)), device="cuda")


def image_set(count: int = 12) -> ImageSet:
    return ImageSet(pictures(count), labels(count), ("a", "b", "c"), "pictures")


# ---- what the fake GPU refuses -----------------------------------------------------------------------

MIXED = {
    "a sum": lambda x: x + torch.ones(3), "a product": lambda x: torch.ones(2, 3) @ x, "cat": lambda x: torch.cat([x, torch.ones(3)]),
    "cat with a number": lambda x: torch.stack([x.sum(), torch.ones(())]), "linear": lambda x: nn.Linear(3, 2)(x),
    "cross entropy": lambda x: F.cross_entropy(x[None], torch.tensor([0])), "gather": lambda x: x.gather(0, torch.tensor([0])),
    "index_select": lambda x: x.index_select(0, torch.tensor([0])), "embedding": lambda x: F.embedding(torch.tensor([0]), x[:, None]),
    "the CPU's indexed": lambda x: torch.ones(3)[torch.zeros(1, dtype=torch.int64, device="cuda")], "changed in place": lambda x: torch.ones(3).add_(x),
    "the CPU's generator": lambda x: torch.randn(3, generator=stream(), device=x.device), "of a like": lambda x: x.clone().normal_(generator=stream()),
    "the GPU's generator": lambda x: torch.randn(3, generator=stream("cuda")), "where": lambda x: torch.where(x > 0, x, torch.ones(3)),
}


@pytest.mark.parametrize("what", MIXED)
def test_devices_that_meet_are_refused_as_torch_does(what):
    with pytest.raises(RuntimeError, match="same device|device type for generator|indices should be either"):
        MIXED[what](torch.ones(3, device="cuda"))


def test_numpy_refuses_what_is_on_a_gpu():
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        torch.ones(3, device="cuda").numpy()


@pytest.mark.parametrize("allowed", [lambda x: x * torch.tensor(2.0), lambda x: x[torch.tensor([0, 1])], lambda x: x.copy_(torch.ones(3)),
                                     lambda x: torch.where(x > 0, x, torch.tensor(0.0)), lambda x: x.index_put_((torch.tensor([0]),), torch.tensor(1.0))])
def test_numbers_and_places_may_come_from_the_cpu(allowed):
    assert allowed(torch.ones(3, device="cuda")).device == CUDA


# ---- helpers -----------------------------------------------------------------------------------------


def attacked(attack: Callable, **settings: object) -> Callable[[], Tensor]:
    return lambda: attack(classifier(), pictures(), labels(), **settings)


def looked_through(**settings: object) -> Tensor:
    """An attack on a model behind a camera."""
    seen = attacks.expectation(classifier(), Camera(), draws=2, **settings)
    return attacks.fgsm(seen, pictures(), labels(), eps=0.1)


def doubted() -> None:
    attacks.doubts(classifier(), pictures(), labels(), eps=0.1, steps=2, source=classifier())


def black_box() -> Tensor:
    """Two rounds against an oracle that answers on the CPU, as the course's does."""
    rounds = attacks.substitute(lambda x: (x.cpu().mean((1, 2, 3)) > 0.5).long(), lambda: models.ConvNet((1, 8, 8), 2), pictures(4), 2,
                                rounds=3, limit=10, epochs=1, batch=4, device="cuda")
    return list(rounds)[-1].labels


def tree_path() -> Tensor:
    from sklearn.tree import DecisionTreeClassifier

    x, y = pictures(12), labels(12)
    return attacks.shortest_path(DecisionTreeClassifier(random_state=0).fit(x.cpu().flatten(1).numpy(), y.cpu().numpy()), x, y)


def sliding() -> Tensor:
    score = mlp_critic([12, 8]).to("cuda")
    return design.ascend(score, design.cars(5).to("cuda"), steps=2).path


hardening = partial(defenses.adversarial, attack=from_new_points(attacks.pgd, eps=0.1, steps=1), clean=0.5)


def logged() -> None:
    history = History()
    for step in range(3):
        history.log(step, loss=points(2), number=1.0)
    history.snapshot(2, samples=points())
    history.flush()


def reader(encoder: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        net, tokens = Reader(torch.full((9,), 1 / 9), encoder=encoder).to("cuda"), torch.randint(9, (4, 6), device="cuda")
        language_loss(net, tokens).backward()
        return vat.vat_loss(net.around(tokens), net.vectors(tokens), eps=1.0)
    return read


HELPERS: dict[str, Callable[[], object]] = {
    # losses and samplers
    "GAN losses": lambda: NON_SATURATING.for_critic(points(8), points(8)) + WASSERSTEIN.for_generator(points(8)),
    "minimax_value": lambda: gan.minimax_value(points(8), points(8)), "cls_loss": lambda: gan.cls_loss(points(8), points(2, 8), points(8)),
    "gaussian": lambda: gan.gaussian(8, 2, device="cuda"), "gaussian, a stream of the CPU": lambda: gan.gaussian(8, 2, generator=stream(), device="cuda"),
    "gaussian, a stream of the GPU": lambda: gan.gaussian(8, 2, generator=stream("cuda"), device="cuda"),
    "uniform": lambda: gan.uniform(8, 2, device="cuda"), "penalty": lambda: GradientPenalty()(mlp_critic([2, 8]).to("cuda"), points(), points()),
    "penalty of a stack": lambda: GradientPenalty()(Stack([mlp_critic([2, 8]) for _ in range(3)]).to("cuda"), points(3, 8, 2), points(3, 8, 2)),
    "interpolate": lambda: gan.interpolate(points(), points(), 3), "own_loss": lambda: own_loss(RBFClassifier((1, 8, 8), 3).to("cuda"), pictures(), labels()),
    "double_backprop": lambda: defenses.double_backprop(classifier(), pictures(), labels(), weight=0.1),
    "noisy": lambda: defenses.noisy(classifier(), pictures(), labels(), sigma=0.1),
    "small_weights": lambda: defenses.small_weights(classifier(), pictures(), labels(), weight=0.1),
    "bits_loss": lambda: defenses.bits_loss(defenses.Decoded(models.ConvNet((1, 8, 8), 4), defenses.codewords(3, 4)).to("cuda"), pictures(), labels()),
    # metrics
    "frechet_distance": lambda: frechet_distance(points(20, 3), points(20, 3)), "sliced_wasserstein": lambda: sliced_wasserstein(points(), points()),
    "sliced_wasserstein, a stream": lambda: sliced_wasserstein(points(), points(), generator=stream()),
    "mode_counts": lambda: mode_counts(points(), points(3, 2), 0.1), "modes_covered": lambda: modes_covered(points(), Ring().centres, 0.1),
    "nearest": lambda: nearest(points(), points()), "parzen": lambda: parzen_log_likelihood(points(), points(), 0.1),
    "overlap": lambda: overlap(pictures()[:, 0] > 0.5, pictures()[:, 0] > 0.5),
    # geometry
    "random_directions": lambda: geometry.random_directions(pictures(), stream(), perpendicular=True),
    "cross_sections": lambda: geometry.cross_sections(classifier(), pictures(), pictures(), pictures(), side=3),
    "straight_border": lambda: geometry.straight_border(geometry.cross_sections(classifier(), pictures(), pictures(), pictures(), side=3) == 0, angles=4),
    "aligned": lambda: geometry.aligned(points(9) - 0.5, 4), "aligned_signs": lambda: geometry.aligned_signs(points(9) - 0.5, 4),
    "adversarial_directions": lambda: geometry.adversarial_directions(
        [classifier(), classifier()], pictures(2), labels(2), pictures(2), eps=3.0, counts=(1, 4)).to("cuda"),
    # attacks
    "fgsm": attacked(attacks.fgsm, eps=0.1), "fgsm, an eps each": lambda: attacks.fgsm(classifier(), pictures(), labels(), eps=points(6)),
    "pgd": attacked(attacks.pgd, eps=0.1, steps=2), "pgd, L2": attacked(attacks.pgd, eps=0.1, steps=2, norm="l2"),
    "pgd, early stop and restarts": attacked(attacks.pgd, eps=0.9, steps=3, early_stop=True, restarts=2),
    "pgd, a stream": lambda: attacks.pgd(classifier(), pictures(), labels(), eps=0.1, steps=2, generator=stream()),
    "iterated": attacked(attacks.iterated, eps=0.1, steps=2), "least_likely": attacked(attacks.least_likely, eps=0.1, steps=2),
    "saliency": attacked(attacks.saliency, features=2), "lbfgs": lambda: list(attacked(attacks.lbfgs, searches=2, steps=2)()),
    "along_the_label": attacked(attacks.along_the_label), "at_random": attacked(attacks.at_random), "doubts": doubted, "substitute": black_box,
    "ensemble": lambda: attacks.fgsm(attacks.ensemble([classifier(), classifier()]), pictures(), labels(), eps=0.1),
    "expectation": looked_through, "expectation that repeats": lambda: looked_through(generator=stream()),
    "Camera": lambda: Camera()(pictures(channels=3)), "Camera, a stream": lambda: Camera()(pictures(), stream()), "jpeg": lambda: attacks.jpeg(pictures(channels=3), 50),
    "destruction_rate": lambda: attacks.destruction_rate(classifier(), pictures(), pictures(), labels(), Camera(), draws=2),
    "across_hyperplane": lambda: attacks.across_hyperplane(points(3, 64), pictures(), labels(), eps=0.5),
    "SmoothNeighbours": lambda: attacks.fgsm(attacks.SmoothNeighbours(pictures(), labels(), 3).to("cuda"), pictures(), labels(), eps=0.1),
    "shortest_path": tree_path,
    # defences
    "Hedged": lambda: defenses.Hedged(classifier(), 0.01)(pictures()), "Noise": lambda: defenses.Noise(0.1)(pictures()),
    "Noise, a stream": lambda: defenses.Noise(0.1)(pictures(), stream()),
    "Glimpses": lambda: defenses.Glimpses(5)(pictures()), "Glimpses, a stream": lambda: defenses.Glimpses(5)(pictures(), stream()),
    "adversarial": lambda: hardening(classifier(), pictures(), labels()),
    # VAT
    "vat_loss": lambda: vat.vat_loss(classifier(), pictures(), eps=0.5), "vat_loss, an eps each": lambda: vat.vat_loss(classifier(), pictures(), eps=points(6) + 0.1),
    "vat_loss, a stream": lambda: vat.vat_loss(classifier(), pictures(), eps=0.5, generator=stream()),
    "virtual_adversarial": lambda: vat.virtual_adversarial(classifier(), pictures(), eps=0.5),
    "divergence": lambda: vat.divergence(classifier(), pictures(), pictures()), "entropy": lambda: vat.entropy(classifier(), pictures()),
    "a reader": reader("convolution"), "a reader with an LSTM": reader("lstm"),
    # designs, data, models
    "ascend": sliding, "simulate": lambda: design.simulate(design.cars(4).to("cuda")), "History": logged,
    "ImageSet": lambda: [image_set().take(3, stream()).images, image_set().of("a").images, image_set().take(labels(12) == 1).images,
                         image_set().sample(4, stream()), next(image_set().batches(4, stream()))[0]],
    "evaluate": lambda: evaluate(classifier(), image_set()), "evaluate, data on the CPU": lambda: evaluate(classifier(), image_set().to("cpu")),
    "evaluate, attacked": lambda: evaluate(classifier(), image_set(), attack=partial(attacks.fgsm, eps=0.1)),
    "Stack": lambda: Stack([mlp([2, 8, 2]) for _ in range(3)]).to("cuda")(points()), "Stack.net": lambda: Stack([mlp([2, 8, 2])] * 2).to("cuda").net(1)(points()),
    "spectral_norm": lambda: models.spectral_norm(mlp([2, 8, 2])).to("cuda")(points()),
    "UNet": lambda: models.UNet(1, 3, 4, 2).to("cuda")(pictures()), "Colouring": lambda: models.Colouring(4, 2).to("cuda")(pictures()),
}
ON_CPU = {"straight_border"}  # counted in float64, which not every device has


@pytest.mark.parametrize("name", HELPERS)
def test_a_helper_works_where_its_tensors_are(name):
    result = HELPERS[name]()
    found = {one.device for one in (result if isinstance(result, (list, tuple)) else [result]) if isinstance(one, Tensor)}
    assert found <= {torch.device("cpu") if name in ON_CPU else CUDA}


# ---- trainings ---------------------------------------------------------------------------------------


def opts(*nets: nn.Module) -> list[torch.optim.Optimizer]:
    return [adam(net.parameters()) for net in nets]


def points_game(**settings: object) -> Callable[[], object]:
    def step() -> object:
        G, D = mlp([2, 8, 2]).to("cuda"), mlp_critic([2, 8]).to("cuda")
        return gan.gan_step(G, D, *opts(G, D), points, points, **settings)
    return step


def stacked_game() -> object:
    G, D = (Stack([make() for _ in range(3)]).to("cuda") for make in (lambda: mlp([2, 8, 2]), lambda: mlp_critic([2, 8])))
    return gan.gan_step(G, D, *opts(G, D), lambda: points(3, 8, 2), lambda: points(3, 8, 2), penalty=GradientPenalty())


def clipped() -> object:
    G, D = mlp([2, 8, 2]).to("cuda"), mlp_critic([2, 8]).to("cuda")
    opt_g, opt_d = opts(G, D)
    return gan.gan_step(G, D, opt_g, gan.clip_after_each_step(opt_d, 0.01), points, points, loss=WASSERSTEIN)


def picture_game() -> object:
    G, D = models.DCGenerator(4, (1, 8, 8), 8).to("cuda"), models.DCCritic((1, 8, 8), 8).to("cuda")
    return gan.gan_step(G, D, *opts(G, D), pictures, lambda: points(6, 4))


def balanced() -> object:
    G, D = mlp([2, 8, 2]).to("cuda"), ReconstructionError(mlp([2, 8, 2])).to("cuda")
    balance = Balance(0.5, 0.01, device="cuda")
    balance.load_state_dict({key: value.cpu() for key, value in balance.state_dict().items()})  # as a checkpoint gives it back
    return gan.began_step(G, D, *opts(G, D), points(), points(), points(), balance)


def conditional() -> object:
    G, D = models.ConditionalGenerator(4, 3, (1, 8, 8), 8).to("cuda"), models.ConditionalCritic(3, (1, 8, 8), 8).to("cuda")
    return gan.conditional_step(G, D, *opts(G, D), lambda: (pictures(), labels()), lambda: points(6, 4))


def captioned() -> object:
    G, D, E = (net.to("cuda") for net in (models.TextGenerator(4, 8, (3, 8, 8), 8), models.TextCritic(8, (3, 8, 8), 8), models.TextEncoder(20, 8)))
    rows = torch.arange(6, device="cuda")
    values = {"colour": rows % 2, "form": rows // 2 % 2}
    wrong = gan.NearMisses(values).differing_in("colour", rows[:4])
    words = torch.randint(21, (6, 5), device="cuda")
    return gan.text_step(G, D, E, *opts(G, D), pictures(4, 3), words[:4], words[wrong][None], points(4, 4))


def translated() -> object:
    G, D = models.UNet(1, 3, 4, 2).to("cuda"), models.PatchCritic(4, 4, 1).to("cuda")
    a, b = pictures(), pictures(channels=3)
    return *gan.translate_step(G, D, *opts(G, D), a, b), gan.regression_step(G, opts(G)[0], a, b)


def cycled() -> object:
    nets = CycleNets(lambda: nn.Conv2d(3, 3, 3, padding=1), lambda: nn.Sequential(nn.Conv2d(3, 1, 3), nn.Flatten(0))).to("cuda")
    opt_g, opt_d = adam(nets.translators()), adam(nets.critics())
    pools = Pool(4), Pool(4)
    for pool in pools:
        pool.exchange(pictures(4, 3))
        pool.load_state_dict({"kept": [one.cpu() for one in pool.state_dict()["kept"]]})  # as a checkpoint gives it back
    for _ in range(3):
        result = gan.cycle_step(nets, opt_g, opt_d, pools, pictures(4, 3), pictures(4, 3), loss=LEAST_SQUARES)
    return result


def fitted(data: ImageSet, loss: Callable | None = None) -> None:
    net = models.ConvNet((1, 8, 8), 3)
    fit(net, data, epochs=1, batch=6, device="cuda", progress=False, checkpoint_steps=10**6, **({} if loss is None else {"loss": loss}))
    assert next(net.parameters()).device == CUDA


def smoothed(model: Callable, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y) + vat.vat_loss(model, x, eps=0.5)


TRAININGS: dict[str, Callable[[], object]] = {
    "gan_step": points_game(), "gan_step, together": points_game(together=True), "gan_step, reuse": points_game(reuse=True, k=2),
    "gan_step with a penalty": points_game(penalty=GradientPenalty(), loss=WASSERSTEIN), "a stack": stacked_game, "clipped weights": clipped,
    "pictures": picture_game, "began_step": balanced, "conditional_step": conditional, "text_step": captioned, "translate_step and regression_step": translated,
    "cycle_step after a resume": cycled, "fit": lambda: fitted(image_set()), "fit, data on the CPU": lambda: fitted(image_set().to("cpu")),
    "fit with VAT": lambda: fitted(image_set(), smoothed), "fit, adversarial": lambda: fitted(image_set(), hardening),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_step_of_training_stays_on_the_gpu(name):
    result = TRAININGS[name]()
    assert {one.device for one in result or () if isinstance(one, Tensor)} <= {CUDA} if isinstance(result, tuple) else True


def test_a_stream_of_the_course_can_live_on_the_gpu():
    assert torch.randn(3, generator=runtime.generator("test", on="cuda"), device="cuda").device == CUDA


def test_an_optimiser_goes_on_from_a_state_on_the_cpu():
    net = mlp([2, 8, 2]).to("cuda")
    opt, = opts(net)
    net(points()).sum().backward()
    opt.step()
    state = copy.deepcopy(opt.state_dict())
    state["state"] = {key: {name: value.cpu() for name, value in one.items()} for key, one in state["state"].items()}
    opt.load_state_dict(state)
    opt.step()
    assert all(value.device == CUDA for one in opt.state.values() for value in one.values())


@pytest.mark.parametrize("attack", [attacks.pgd, attacks.doubts])
def test_a_stream_of_the_gpu_is_refused_by_name_where_the_cpu_draws(attack):
    with pytest.raises(ValueError, match="generator: expected None or a torch.Generator on the CPU, got one on cuda:0"):
        attack(classifier(), pictures(), labels(), eps=0.1, generator=stream("cuda"))
