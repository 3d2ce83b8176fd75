"""Every figure of the course: it draws what it was given, readably, in colours that everyone can tell apart."""
from __future__ import annotations

import io
import itertools
import random
import warnings
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from course_utils import plots
from course_utils.gan import HINGE, LEAST_SQUARES, MINIMAX, NON_SATURATING
from course_utils.plots.borders import Border

COLOUR_BLIND_SAFE = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"]
BLUE, ORANGE = COLOUR_BLIND_SAFE[:2]
GENERATOR = torch.Generator().manual_seed(0)


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=GENERATOR)


STEPS = torch.arange(0, 3000, 50)
RUNS = {k: k * torch.exp(-STEPS / 600) + 0.08 + 0.03 * uniform(5, 60) for k in (1, 2, 5)}
LINES = {f"k = {k}": (STEPS, runs) for k, runs in RUNS.items()}
CHANCE = torch.linspace(0.002, 0.998, 300)
OBJECTIVES = {"log(1 - D(G(z)))": (CHANCE, (1 - CHANCE).log()), "-log D(G(z))": (CHANCE, -CHANCE.log())}
PICTURES, COLOURED = uniform(36, 1, 28, 28), uniform(20, 3, 32, 32)
RING = torch.stack([torch.cos(torch.arange(400) * torch.pi / 4), torch.sin(torch.arange(400) * torch.pi / 4)], dim=1)
FAKE = 2 * uniform(200, 2) - 1
SETTINGS = {"recipe": 0.07 + 0.03 * uniform(5), "k = 2": 0.1 + 0.2 * uniform(5), "rates\nexchanged": 0.4 + 0.5 * uniform(5)}
MAPS = torch.arange(40)[:, None, None].expand(-1, 9, 9) % 3 + (torch.arange(9) > 5)
SPLIT = torch.arange(60) % 2 == 1
BORDERS = [Border(uniform(60, d), SPLIT, torch.full((d,), 6.0), -3.0 * d, torch.full((d,), 0.4), torch.full((d,), 0.6), 0.2) for d in (1, 2)]
EPS = torch.linspace(-30, 30, 61)
LOGITS = torch.linspace(-1, 1, 10) * EPS[:, None] / 3 - 8 * (torch.arange(10) != 4)

# Every public call, as notebooks make it.
FIGURES: dict[str, Callable[[], Figure]] = {
    "players": plots.players,
    "curves": lambda: plots.curves({"": LINES}, x="generator steps", y="mean log-likelihood of\ntest pictures (nats)"),
    "curves, panels": lambda: plots.curves({"what G descends": OBJECTIVES, "size of its slope": OBJECTIVES}, x="D(G(z)): 0 = caught, 1 = fools D", y=["objective of G", "slope"], title="Both objectives"),
    "curves, other names": lambda: plots.curves({"densities": {"p_data": (CHANCE, CHANCE), "p_g": (CHANCE, CHANCE**2)}, "what D says": OBJECTIVES}, x="x", y=["density", "D(x)"]),
    "curves, three panels": lambda: plots.curves({f"panel {i}": LINES for i in range(3)}, x=["generator steps", "seconds", "epochs"], y="sliced Wasserstein distance", log_y=True),
    "curves, log x": lambda: plots.curves({"the true distance": LINES, "the value": LINES}, x="generator step", y=["distance", "value"], log_x=True),
    "spread": lambda: plots.spread({"against the untrained G": 0.97 + 0.02 * uniform(5), "against the trained G": 0.5 + 0.1 * uniform(5)}, y="accuracy of a fresh D", limit=(0.5, "guessing")),
    "spread, log": lambda: plots.spread(SETTINGS, y="sliced Wasserstein distance", log_y=True, limit=(1.1, "untrained"), title="5 seeds each"),
    "spread, decades": lambda: plots.spread({"log(1 - D(G(z)))": 1e-5 * (1 + uniform(5)), "-log D(G(z))": 1 + uniform(5)}, y="length of G's gradient", log_y=True, title="D is confident: what reaches G, run by run"),
    "bars": lambda: plots.bars({"clean": uniform(10), "adversarial": uniform(10), "noise": uniform(10)}, [str(i) for i in range(10)], x="class", y="probability", title="Top answers"),
    "loss_curves": lambda: plots.loss_curves({loss.name: loss for loss in (MINIMAX, NON_SATURATING, LEAST_SQUARES, HINGE)}),
    "attack": lambda: plots.attack(PICTURES[0], PICTURES[1], (torch.eye(10)[3], torch.full((10,), 0.1)), list("0123456789"), title="fgsm, ε = 0.1"),
    "attack, colour, nothing changed": lambda: plots.attack(COLOURED[0], COLOURED[0], (torch.eye(2)[0], torch.eye(2)[0]), ["day", "night"]),
    "attack_strips": lambda: plots.attack_strips(PICTURES[:2], PICTURES[2:4], PICTURES[4:6], [uniform(2, 10).softmax(1) for _ in range(3)], list("0123456789"), magnify=2),
    "attack_strips, colour": lambda: plots.attack_strips(COLOURED[:1], COLOURED[1:2], COLOURED[2:3], [uniform(1, 2).softmax(1) for _ in range(3)], ["giant panda", "gibbon"], magnify=51, title="The strip"),
    "frames": lambda: plots.frames(PICTURES[:30].view(3, 10, 1, 28, 28), torch.arange(30).view(3, 10) % 4 == 0, ["1", "two", "3"], [f"step {i}" if i == 0 else str(5 * i) for i in range(10)], mark='the net says "0" with p > 0.9'),
    "frames, one row": lambda: plots.frames(COLOURED[None, :6], torch.zeros(1, 6, dtype=torch.bool), ["ship"], list("abcdef"), mark="airplane", title="A path"),
    "logit_lines": lambda: plots.logit_lines(EPS, {"towards two classes": LOGITS, "a random direction": LOGITS / 5}, list("0123456789"), 4, x=r"$\varepsilon$, in thirtieths"),
    "regions": lambda: plots.regions({"overfitting": lambda p: (9 * p[:, 0]).sin(), "excessive linearity": lambda p: p[:, 0] - 0.5}, uniform(60, 2), SPLIT),
    "border_steps": lambda: plots.border_steps({"one": BORDERS[0], "two": BORDERS[1]}, ("a 3", "a 7"), axes=("ink below", "ink left"), title="A step over the border"),
    "cross_sections": lambda: plots.cross_sections({"fgsm": MAPS, "random": MAPS}, torch.arange(40) % 10, list("0123456789"), axes=[("fgsm", "random"), ("random", "another")], title="Maps of answers"),
    "cross_sections, one": lambda: plots.cross_sections({"": MAPS[:3]}, torch.arange(3), ["cat", "dog", "horse"], columns=3),
    "scatter": lambda: plots.scatter({f"to net {i}": (uniform(4), uniform(4)) for i in range(5)}, x="shared directions", y="share of examples that transfer", title="Twenty pairs"),
    "tables": lambda: plots.tables({"here": 100 * uniform(5, 6), "Papernot et al. 2016": 100 * uniform(5, 6)}, ["DNN", "LR", "SVM", "DT", "kNN"], ["DNN", "LR", "SVM", "DT", "kNN", "Ens"], x="target", y="source", title="Who fools whom"),
    "tables, long names": lambda: plots.tables({"one source": 100 * uniform(5, 5)}, ["strided", "residual", "pooled", "dense", "wide"], ["strided", "residual", "pooled", "dense", "wide"], x="target", y="source", bar="still right (%)", framed=False),
    "matrices": lambda: plots.matrices({"$A$: a 6x6 picture to 3x3 maps": 2 * uniform(9, 36) - 1, r"$A^\top$: 3x3 maps to a 6x6 picture": 2 * uniform(36, 9) - 1}, bar="weight"),
    "matrices, counts": lambda: plots.matrices({f"kernel of side {side}": uniform(12, 12) for side in (3, 4, 5)}, bar="inputs that reach a pixel", title="Visits"),
    "points": lambda: plots.points(FAKE, RING, title="run 0, step 500"),
    "point_strip": lambda: plots.point_strip([FAKE] * 6, [f"step {500 * i}" for i in range(6)], RING, title="Run 0: what the generator makes, as training goes on"),
    "point_strip, one": lambda: plots.point_strip([FAKE], ["the last step"], RING),
    "picture_grid": lambda: plots.picture_grid(PICTURES, columns=18, title="digits: the first 36 training pictures"),
    "picture_grid, few": lambda: plots.picture_grid(COLOURED[:3], title="fewer than the columns"),
    "picture_rows": lambda: plots.picture_rows({"generated": PICTURES[:14], "nearest in\ntraining": PICTURES[14:28]}, title="Samples and their nearest training pictures"),
    "picture_captions": lambda: plots.picture_captions(["this large circle is violet and the background is white", "a small star in blue, on grey", "a tiny red square, on black"], [COLOURED[:10]] * 3, title="Drawn from a sentence"),
    "picture_strip": lambda: plots.picture_strip([PICTURES[:16]] * 5, [f"step {500 * i}" for i in range(5)], title="The same 16 vectors z, as training goes on"),
}
WITH_AXES = [name for name in FIGURES if name.startswith(("curves", "spread", "bars"))]
WITH_LEGEND = [name for name in FIGURES if name.startswith(("curves", "loss", "spread", "bars", "point")) and name != "spread, decades"]


def texts_of(figure: Figure) -> list[Text]:
    """The texts that appear when ``figure`` is drawn, on its own canvas: text outside of it has no place of its own."""
    drawn: list[Text] = []
    draw = Text.draw

    def noted(self: Text, *arguments, **options) -> None:
        drawn.append(self)
        draw(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", noted)
        FigureCanvasAgg(figure).draw()
    return list({id(text): text for text in drawn if text.get_visible() and text.get_text().strip()}.values())


def frame(text: Text):
    """Where ``text`` stands, in pixels of its figure."""
    return text.get_window_extent(text.figure.canvas.get_renderer())


def random_state() -> tuple:
    """The global random state of python, numpy and torch."""
    return random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2], torch.get_rng_state().tolist()


@pytest.fixture(scope="module")
def drawn() -> Callable[[str], tuple[Figure, list[Text]]]:
    """The figure of a name and its texts, made and saved as a notebook does once for all tests, warnings as errors."""
    made: dict[str, tuple[Figure, list[Text]]] = {}

    def get(name: str) -> tuple[Figure, list[Text]]:
        if name not in made:
            before = random_state()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", DeprecationWarning)
                figure = FIGURES[name]()
                figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
                assert random_state() == before, "a figure must not shift the numbers of the cells below it"
                made[name] = figure, texts_of(figure)
        return made[name]

    return get


@pytest.fixture(autouse=True)
def no_open_figures():
    """A figure that stays open in pyplot is shown twice by a notebook."""
    yield
    assert plt.get_fignums() == []


# --- all figures -------------------------------------------------------------------------------------------------

def test_every_public_call_is_drawn_here():
    assert {name.partition(",")[0] for name in FIGURES} == set(plots.__all__) - {"new_figure", "use_style"}


@pytest.mark.parametrize("name", FIGURES)
def test_a_call_gives_a_figure_that_draws_without_warnings_and_random_numbers(name, drawn):
    figure, texts = drawn(name)
    assert isinstance(figure, Figure) and texts
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off(name, drawn):
    figure, texts = drawn(name)
    width, height = figure.canvas.get_width_height()
    outside = [text.get_text() for text in texts if not (-1 <= frame(text).x0 and frame(text).x1 <= width + 1 and -1 <= frame(text).y0 and frame(text).y1 <= height + 1)]
    assert outside == []


@pytest.mark.parametrize("name", FIGURES)
def test_no_two_texts_overlap(name, drawn):
    frames = [(text.get_text(), frame(text).padded(-1)) for text in drawn(name)[1]]
    assert [(a, b) for (a, at), (b, bt) in itertools.combinations(frames, 2) if at.overlaps(bt)] == []


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_readable_from_the_back_row(name, drawn):
    figure, texts = drawn(name)
    small = {text.get_text(): text.get_fontsize() for text in texts if text.get_fontsize() < max(14, figure.get_figwidth())}
    assert small == {}, "at least 14 points, and 13 on a slide of 13.3 inches"


@pytest.mark.parametrize("name", WITH_AXES)
def test_axes_are_labelled(name, drawn):
    figure, _ = drawn(name)
    for axis in figure.axes:
        assert axis.get_ylabel()
        assert axis.get_xlabel() or name.startswith("spread") and all(label.get_text() for label in axis.get_xticklabels())


@pytest.mark.parametrize("name", WITH_LEGEND)
def test_what_has_several_kinds_of_marks_has_a_legend(name, drawn):
    figure, _ = drawn(name)
    legends = figure.legends or [axis.get_legend() for axis in figure.axes]
    for legend in legends:
        assert legend and legend.get_visible() and len(legend.get_texts()) >= (1 if name.startswith("spread") else 2)
    described = {text.get_text() for legend in legends for text in legend.get_texts()}
    named = {label for axis in figure.axes for label in axis.get_legend_handles_labels()[1]}
    assert described == named


# Matrices are in scales of colour (viridis, blue to red) whose brightness says the same as their hue.
@pytest.mark.parametrize("name", [n for n in FIGURES if not n.startswith(("picture", "players", "matrices", "cross", "tables"))])
def test_colours_are_safe_for_the_colour_blind(name, drawn):
    figure, _ = drawn(name)
    colours = set()
    for axis in figure.axes:
        colours |= {to_hex(line.get_color()) for line in axis.lines} | {to_hex(bar.get_facecolor()) for bar in axis.patches}
        colours |= {to_hex(colour) for marks in axis.collections for colour in (marks.get_facecolor() if len(marks.get_facecolor()) else marks.get_edgecolor())}
    assert colours and colours <= {*COLOUR_BLIND_SAFE, "#000000"}


def test_the_players_have_the_colours_of_their_points():
    boxes = [to_hex(box.get_edgecolor()) for box in plots.players().axes[0].patches]
    assert {BLUE, ORANGE} < set(boxes) and set(boxes) <= {*COLOUR_BLIND_SAFE, "#808080"}


def test_no_arrow_and_no_border_of_the_players_runs_through_a_text(drawn):
    figure, texts = drawn("players")
    axis = figure.axes[0]
    lines = [*axis.patches, *(note.arrow_patch for note in axis.texts if getattr(note, "arrow_patch", None))]
    assert len(lines) == 5 + 6
    for line, text in itertools.product(lines, texts):
        for corners in line.get_transform().transform_path(line.get_path()).to_polygons(closed_only=False):
            along = np.concatenate([np.linspace(a, b, 50) for a, b in itertools.pairwise(corners)])
            (left, low), (right, high) = frame(text).get_points()
            x, y = along.T
            assert not ((left < x) & (x < right) & (low < y) & (y < high)).any(), text.get_text()


# --- curves ------------------------------------------------------------------------------------------------------

def test_the_line_is_the_median_and_the_band_goes_from_lowest_to_highest():
    ys = torch.tensor([[1.0, 5.0, 2.0], [2.0, 4.0, 9.0], [6.0, 3.0, 4.0]], requires_grad=True)
    axis = plots.curves({"": {"runs": ([10, 20, 30], ys)}}, x="x", y="y").axes[0]
    assert axis.lines[0].get_xdata().tolist() == [10, 20, 30] and axis.lines[0].get_ydata().tolist() == [2, 4, 4]
    corners = axis.collections[0].get_paths()[0].vertices
    for x, low, high in ((10, 1, 6), (20, 3, 5), (30, 2, 9)):
        heights = corners[corners[:, 0] == x, 1]
        assert (heights.min(), heights.max()) == (low, high)


def test_one_run_is_a_line_without_band_or_legend():
    axis = plots.curves({"a title": {"one": ([0, 1], np.array([3, 4]))}}, x="steps", y="loss").axes[0]
    assert axis.lines[0].get_ydata().tolist() == [3, 4] and not axis.collections and axis.get_legend() is None
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_title()) == ("steps", "loss", "a title")


def test_every_curve_is_drawn_and_none_looks_like_another():
    lines = plots.curves({"": {f"run {i}": ([0, 1], [i, i]) for i in range(12)}}, x="x", y="y").axes[0].lines
    assert [line.get_label() for line in lines] == [f"run {i}" for i in range(12)]
    assert len({(to_hex(line.get_color()), str(line._dash_pattern)) for line in lines}) == 12


def test_each_panel_has_its_own_title_and_labels_or_shares_them():
    figure = plots.curves({"a": LINES, "b": OBJECTIVES}, x=["steps", "chance"], y="value", title="both")
    assert [(a.get_title(), a.get_xlabel(), a.get_ylabel()) for a in figure.axes] == [("a", "steps", "value"), ("b", "chance", "value")]
    assert figure.get_suptitle() == "both"


def tick_texts(low: float, high: float) -> list[str]:
    """The texts at the logarithmic axis of data from ``low`` to ``high``."""
    figure = plots.curves({"": {"a": ([0, 1, 2], [low, (low * high) ** 0.5, high])}}, x="x", y="y", log_y=True)
    left = [text for text in texts_of(figure) if frame(text).x1 <= figure.axes[0].bbox.x0 and text.get_text() != "y"]
    return [text.get_text() for text in sorted(left, key=lambda text: frame(text).y0)]


@pytest.mark.parametrize("low, high, expected", [
    (0.08, 1.05, ["0.1", "0.2", "0.5", "1"]),
    (0.05, 0.6, ["0.05", "0.1", "0.2", "0.5"]),
    (1.5, 60, ["2", "5", "10", "20", "50"]),
    (1.5, 1400, ["2", "5", "10", "20", "50", "100", "200", "500", "1000"]),
    (0.3, 0.36, ["0.2", "0.5"]),
    (0.2, 0.2, ["0.1", "0.2", "0.5"]),
    (0.0011, 0.0045, ["0.001", "0.002", "0.005"]),
])
def test_less_than_three_decades_are_ticked_with_plain_numbers(low, high, expected):
    assert tick_texts(low, high) == expected


def test_three_decades_and_more_are_ticked_with_powers_of_ten():
    for low, high in ((0.001, 1), (1e-5, 2)):
        texts = tick_texts(low, high)
        assert len(texts) >= 3 and all("10^" in text and "times" not in text for text in texts)


def test_all_data_stay_in_view_of_a_logarithmic_axis():
    for low, high in ((0.08, 1.05), (0.3, 0.36), (0.2, 0.2), (1e-5, 2)):
        axis = plots.spread({"a": [low, high]}, y="y", log_y=True).axes[0]
        assert axis.get_yscale() == "log" and axis.get_ylim()[0] < low and axis.get_ylim()[1] > high


# --- spread and bars ---------------------------------------------------------------------------------------------

def test_loss_curves_are_the_functions_and_their_slopes():
    axes = plots.loss_curves({"least squares": LEAST_SQUARES, "hinge": HINGE}, reach=3.0).axes
    for column, part in enumerate(("real", "fake", "generator")):
        for row, values in ((0, lambda s: getattr(LEAST_SQUARES, part)(s)), (1, lambda s: s if part == "fake" else s - 1)):
            line = axes[3 * row + column].lines[0]
            s = torch.tensor(line.get_xdata())
            assert s[0] == -3 and s[-1] == 3
            torch.testing.assert_close(torch.tensor(line.get_ydata()), values(s))
    with pytest.raises(ValueError, match="losses: expected at least one"):
        plots.loss_curves({})


def test_a_logarithmic_x_axis_when_asked_for():
    assert [axis.get_xscale() for axis in FIGURES["curves, log x"]().axes] == ["log", "log"]
    assert FIGURES["curves"]().axes[0].get_xscale() == "linear"


def test_panels_share_a_scale_where_they_are_asked_to():
    panels = {"low": {"a": ([0, 1], [0.0, 1.0])}, "high": {"a": ([0, 1], [0.0, 9.0])}}
    ends = {same: [axis.get_ylim()[1] for axis in plots.curves(panels, x="x", y="y", same_y=same).axes[:2]] for same in (False, True)}
    assert ends[True][0] == ends[True][1] > 9 and ends[False][0] < 2


def test_the_bar_of_spread_is_explained():
    legend = plots.spread({"a": [1.0, 2.0], "b": [3.0]}, y="y").axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["median"]


def test_spread_shows_each_run_in_its_column_and_the_median():
    figures = {"a": torch.tensor([6.0, 1.0, 2.0], requires_grad=True), "b": [10, 30, 20, 90, 40]}
    axis = plots.spread(figures, y="value", limit=(25, "half way"), title="five seeds").axes[0]
    dots, medians = axis.collections[0::2], axis.collections[1::2]
    for place, (values, marks, median) in enumerate(zip(([6, 1, 2], figures["b"]), dots, medians)):
        xs, ys = marks.get_offsets().T
        assert ys.tolist() == values and (np.diff(xs) > 0).all() and (abs(xs - place) < 0.3).all()
        assert median.get_segments()[0][:, 1].tolist() == [np.median(values)] * 2
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]
    assert axis.lines[0].get_ydata() == [25, 25] and [text.get_text() for text in axis.get_legend().get_texts()] == ["median", "half way"]


def test_bars_stand_side_by_side_over_their_ticks():
    figure = plots.bars({"clean": [1, 2], "noise": torch.tensor([3.0, 4.0])}, ["cat", "dog"], x="class", y="probability", title="answers")
    axis = figure.axes[0]
    assert [bar.get_height() for bar in axis.patches] == [1, 2, 3, 4]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in axis.patches]
    assert np.allclose(centres, [-0.2, 0.8, 0.2, 1.2]) and all(bar.get_width() <= 0.4 + 1e-9 for bar in axis.patches)
    assert [label.get_text() for label in axis.get_xticklabels()] == ["cat", "dog"]
    assert len({bar.get_hatch() for bar in axis.patches}) == 2, "without colour, too"
    assert not plots.bars({"clean": [1, 2]}, ["cat", "dog"], x="class", y="p").legends


def test_tables_print_the_figure_of_each_cell_and_frame_the_diagonal():
    table = torch.tensor([[3.2, 50.0, 100.0], [0.0, 97.6, 12.0]])
    axis = plots.tables({"ours": table}, ["a", "b"], ["a", "b", "all"], x="target", y="source").axes[0]
    assert [text.get_text() for text in axis.texts] == ["3", "50", "100", "0", "98", "12"]
    assert [frame.get_xy() for frame in axis.patches] == [(0, 0), (1, 1)]
    assert ([t.get_text() for t in axis.get_xticklabels()], [t.get_text() for t in axis.get_yticklabels()]) == (["a", "b", "all"], ["a", "b"])
    for bad in ({}, {"ours": table.T}, {"ours": table + 1}, {"ours": table - 1}):
        with pytest.raises(ValueError, match="^panels: expected "):
            plots.tables(bad, ["a", "b"], ["a", "b", "all"], x="target", y="source")


# --- points ------------------------------------------------------------------------------------------------------

def test_matrices_share_a_scale_that_is_symmetric_around_nought_when_some_are_negative():
    figure = plots.matrices({"a": torch.tensor([[-1.0, 0.0]]), "b": torch.tensor([[3.0], [2.0]])}, bar="weight")
    meshes = [axis.collections[0] for axis in figure.axes[:2]]
    assert [mesh.get_clim() for mesh in meshes] == [(-3, 3), (-3, 3)]
    np.testing.assert_array_equal(meshes[1].get_array().ravel(), [3, 2])
    assert plots.matrices({"a": torch.tensor([[1.0, 4.0]])}, bar="count").axes[0].collections[0].get_clim() == (1, 4)


def test_points_show_the_data_in_blue_and_the_generator_in_orange():
    axis = plots.points(FAKE.clone().requires_grad_(), RING, reach=3, title="step 1").axes[0]
    real, fake = axis.collections
    assert np.allclose(real.get_offsets(), RING) and to_hex(real.get_facecolor()[0]) == BLUE and real.get_label() == "data"
    assert np.allclose(fake.get_offsets(), FAKE) and to_hex(fake.get_edgecolor()[0]) == ORANGE and fake.get_label() == "generator"
    assert axis.get_xlim() == axis.get_ylim() == (-3, 3) and axis.get_aspect() == 1 and axis.get_title() == "step 1"


def test_the_legend_of_points_hides_none_of_them(drawn):
    for name in ("points", "point_strip", "bars", "curves, panels"):
        figure, _ = drawn(name)
        key = figure.legends[0].get_window_extent()
        assert not any(key.overlaps(axis.bbox) for axis in figure.axes)


def test_a_strip_of_points_has_a_panel_per_frame():
    figure = plots.point_strip([FAKE, FAKE + 1], ["first", "last"], RING)
    assert [axis.get_title() for axis in figure.axes] == ["first", "last"]
    assert all(np.allclose(axis.collections[1].get_offsets(), FAKE + i) for i, axis in enumerate(figure.axes))


# --- pictures ----------------------------------------------------------------------------------------------------

def shown(axis: plt.Axes) -> np.ndarray:
    """The picture on ``axis``, drawn with black as 0 and white as 1."""
    assert axis.images[0].get_clim() == (0, 1)
    return np.asarray(axis.images[0].get_array())


@pytest.mark.parametrize("pictures", [PICTURES[:5], COLOURED[:5], COLOURED[:5].double().requires_grad_()])
def test_a_grid_shows_every_picture_in_reading_order(pictures):
    size = pictures.shape[-1]
    grid = shown(plots.picture_grid(pictures, columns=3, title="t").axes[0])
    assert grid.shape == (2 * (size + 1) + 1, 3 * (size + 1) + 1, 3)
    for i, picture in enumerate(pictures.detach()):
        top, left = (size + 1) * (i // 3) + 1, (size + 1) * (i % 3) + 1
        assert np.allclose(grid[top : top + size, left : left + size], picture.permute(1, 2, 0))


def test_a_dark_picture_stays_dark():
    assert np.allclose(shown(plots.picture_grid(torch.full((1, 1, 4, 4), 0.1), columns=1).axes[0])[1:-1, 1:-1], 0.1)


def test_rows_are_named_at_their_left_and_strips_above():
    rows = plots.picture_rows({"first": PICTURES[:4], "second": PICTURES[4:8]})
    sentences = plots.picture_captions(["first", "a second sentence, too long for one line"], [PICTURES[:4], PICTURES[4:8]])
    assert [axis.get_ylabel() for axis in sentences.axes] == ["first", "a second sentence, too\nlong for one line"]
    for axis, other in zip(sentences.axes, rows.axes):
        assert np.array_equal(axis.images[0].get_array(), other.images[0].get_array())
    assert [axis.get_ylabel() for axis in rows.axes] == ["first", "second"]
    strip = plots.picture_strip([PICTURES[:4], PICTURES[4:8]], ["early", "late"], columns=2)
    assert [axis.get_title() for axis in strip.axes] == ["early", "late"]
    for figure, shape in ((rows, (30, 4 * 29 + 1, 3)), (strip, (59, 59, 3))):
        for axis, first in zip(figure.axes, (PICTURES[0, 0], PICTURES[4, 0])):
            assert shown(axis).shape == shape and np.allclose(shown(axis)[1:29, 1:29, 0], first)


# --- bad input ---------------------------------------------------------------------------------------------------

TOO_BRIGHT, TOO_DARK, NOT_A_NUMBER = (torch.full((4, 1, 8, 8), value) for value in (1.01, -0.01, float("nan")))


@pytest.mark.parametrize("pictures", [TOO_BRIGHT, TOO_DARK, NOT_A_NUMBER, PICTURES[0], PICTURES[:0], (PICTURES * 255).byte(), uniform(4, 2, 8, 8)])
@pytest.mark.parametrize("call", [
    plots.picture_grid, lambda some: plots.picture_rows({"good": PICTURES[:4], "row": some}), lambda some: plots.picture_captions(["good", "bad"], [PICTURES[:4], some]), lambda some: plots.picture_strip([PICTURES[:4], some], ["good", "bad"]),
])
def test_bad_pictures_are_refused_by_name(call, pictures):
    with pytest.raises(ValueError, match="^pictures: expected .+, got "):
        call(pictures)


@pytest.mark.parametrize("columns", [0, -1, 2.5, "3", None])
def test_bad_columns_are_refused_by_name(columns):
    for call in (lambda: plots.picture_grid(PICTURES, columns=columns), lambda: plots.picture_strip([PICTURES], ["a"], columns=columns)):
        with pytest.raises(ValueError, match="^columns: expected a whole number of at least 1, got "):
            call()


@pytest.mark.parametrize("call, argument", [
    (lambda: plots.picture_rows({}), "rows"), (lambda: plots.picture_captions(["one"], [PICTURES[:4]] * 2), "captions"), (lambda: plots.picture_captions([], []), "captions"),
    (lambda: plots.picture_strip([], []), "names"),
    (lambda: plots.picture_strip([PICTURES, PICTURES], ["only one"]), "names"),
    (lambda: plots.point_strip([], [], RING), "names"),
    (lambda: plots.point_strip([FAKE], ["one", "two"], RING), "names"),
    (lambda: plots.points(uniform(5, 3), RING), "fake"),
    (lambda: plots.points(FAKE, uniform(5)), "real"),
    (lambda: plots.points(FAKE, RING, reach=0), "reach"),
    (lambda: plots.curves({}, x="x", y="y"), "panels"),
    (lambda: plots.curves({"a": {}}, x="x", y="y"), "panels"),
    (lambda: plots.curves({"a": LINES, "b": LINES}, x=["x"], y="y"), "x"),
    (lambda: plots.curves({"a": LINES}, x="x", y=["one", "two"]), "y"),
    (lambda: plots.curves({"a": {"short": ([0, 1, 2], [0, 1])}}, x="x", y="y"), "curve 'short'"),
    (lambda: plots.curves({"a": {"deep": ([0, 1], uniform(2, 2, 2))}}, x="x", y="y"), "curve 'deep'"),
    (lambda: plots.curves({"a": {"none": ([0, 1], [0, -1])}}, x="x", y="y", log_y=True), "log_y"),
    (lambda: plots.spread({}, y="y"), "figures"),
    (lambda: plots.spread({"a": []}, y="y"), "figures"),
    (lambda: plots.spread({"a": uniform(2, 2)}, y="y"), "figures"),
    (lambda: plots.spread({"a": [0.0, 0.0]}, y="y", log_y=True), "log_y"),
    (lambda: plots.matrices({}, bar="weight"), "panels"),
    (lambda: plots.matrices({"a": uniform(3)}, bar="weight"), "panels"),
    (lambda: plots.bars({}, ["a"], x="x", y="y"), "groups"),
    (lambda: plots.bars({"a": [1, 2, 3]}, ["a", "b"], x="x", y="y"), "groups"),
])
def test_other_bad_input_is_refused_by_name(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected .+, got "):
        call()


# --- attacks -----------------------------------------------------------------------------------------------------

def test_a_strip_shows_the_change_and_the_top_answers_of_its_three_pictures():
    before, change = torch.full((1, 1, 4, 4), 0.5), torch.zeros(1, 1, 4, 4)
    change[0, 0, 1, 2], change[0, 0, 3, 0] = 0.1, -0.1
    chances = [torch.tensor([row]) for row in ([0.9, 0.06, 0.04, 0.0], [0.0, 0.1, 0.2, 0.7], [0.5, 0.4, 0.1, 0.0])]
    figure = plots.attack_strips(before, before + change, before, chances, ["cat", "dog", "owl", "bee"], magnify=4)
    pictures = [axis.images[0].get_array() for axis in figure.axes[:4]]
    np.testing.assert_allclose(pictures[1], np.asarray(0.5 + 4 * change[0, 0]), atol=1e-6)
    np.testing.assert_allclose(pictures[2], np.asarray((before + change)[0, 0]), atol=1e-6)
    said = [[text.get_text() for text in axis.texts] for axis in (figure.axes[4], figure.axes[6], figure.axes[7])]
    assert said == [["cat  90 %", "dog  6 %", "owl  4 %"], ["bee  70 %", "owl  20 %", "dog  10 %"], ["cat  50 %", "dog  40 %", "owl  10 %"]]
    assert [round(bar.get_width(), 2) for bar in figure.axes[6].patches] == [0.7, 0.2, 0.1]


def test_boxes_stand_around_the_marked_frames_and_nowhere_else():
    paths, marked = uniform(2, 3, 1, 8, 8), torch.tensor([[False, True, False], [False, False, True]])
    figure = plots.frames(paths, marked, ["a", "b"], ["0", "1", "2"], mark="reached")
    *boxes, key = figure.axes[0].patches
    assert [(round(box.get_x() // 9), round(box.get_y() // 9)) for box in boxes] == [(1, 0), (2, 1)]
    assert key.get_x() + key.get_width() < 0 and key.get_label() == "reached"
    shown = figure.axes[0].images[0].get_array()
    for (column, row), box in zip([(1, 0), (2, 1)], boxes):
        left, top = int(np.ceil(box.get_x())), int(np.ceil(box.get_y()))
        np.testing.assert_allclose(shown[top : top + 8, left : left + 8, 0], paths[row, column, 0], atol=1e-6)


def test_the_right_class_is_black_and_its_share_of_the_axis_grey():
    figure = plots.logit_lines(EPS, {"": LOGITS}, list("0123456789"), 4, x="eps")
    black = [line for line in figure.axes[0].lines if to_hex(line.get_color()) == "#000000"]
    assert len(black) == 1 and black[0].get_label() == "4 (right)" and len(figure.axes[0].lines) == 10
    np.testing.assert_allclose(black[0].get_ydata(), LOGITS[:, 4])
    shaded = figure.axes[0].collections[0].get_paths()[0].vertices[:, 0]
    wins = EPS[LOGITS.argmax(1) == 4]
    assert abs(shaded.min() - wins.min()) <= 1 and abs(shaded.max() - wins.max()) <= 1 and len(wins) < len(EPS)


def test_regions_have_the_colour_of_the_answer_above_their_points():
    figure = plots.regions({"right of the middle": lambda p: p[:, 0] - 0.5}, uniform(60, 2), SPLIT)
    answer = figure.axes[0].images[0].get_array()
    assert answer[:, :100].max() == 0 and answer[:, 100:].min() == 1
    assert [len(marks.get_offsets()) for marks in figure.axes[0].collections] == [30, 30]
    figure = plots.regions({"": lambda p: p[:, 0] - 0.5}, uniform(60, 2), SPLIT, others=uniform(7, 2))
    assert [len(marks.get_offsets()) for marks in figure.axes[0].collections] == [7, 30, 30]


@pytest.mark.parametrize("wrong, message", [
    (lambda: plots.attack_strips(PICTURES[:1], PICTURES[:2], PICTURES[:1], [uniform(1, 3)] * 3, list("abc")), "after"),
    (lambda: plots.attack_strips(*[PICTURES[:1]] * 3, [uniform(1, 3)] * 2, list("abc")), "chances"),
    (lambda: plots.attack_strips(*[PICTURES[:1]] * 3, [uniform(1, 3)] * 3, list("abc"), magnify=0), "magnify"),
    (lambda: plots.frames(PICTURES[None, :3], torch.zeros(1, 2, dtype=torch.bool), ["a"], list("abc"), mark="m"), "marked"),
    (lambda: plots.frames(PICTURES[None, :3], torch.zeros(1, 3, dtype=torch.bool), ["a", "b"], list("abc"), mark="m"), "names"),
    (lambda: plots.frames(PICTURES[None, :3], torch.zeros(1, 3, dtype=torch.bool), ["a"], list("ab"), mark="m"), "moments"),
    (lambda: plots.logit_lines(EPS, {"": LOGITS[:, :3]}, list("abcd"), 0, x="x"), "panels"),
    (lambda: plots.logit_lines(EPS, {"": LOGITS}, list("0123456789"), 10, x="x"), "right"),
    (lambda: plots.regions({}, uniform(3, 2), SPLIT[:3]), "panels"),
    (lambda: plots.regions({"": lambda p: p[:, 0]}, uniform(3, 2), torch.arange(3)), "points, labels")])
def test_attack_figures_name_bad_input(wrong, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        wrong()
