"""Explorers: what a slider does, what a page without sliders shows, and that old and new ipywidgets both do."""
from __future__ import annotations

import base64
import os
from pathlib import Path
from types import SimpleNamespace

import ipywidgets
import nbformat
import pytest
import torch
from IPython.core import display_functions
from matplotlib.figure import Figure
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, start_new_kernel

from course_utils import explore as module
from course_utils import plots
from course_utils.explore import ask, asker, explore, explorer, is_live, png
from tools.run import strip

ROOT = Path(__file__).resolve().parents[1]
SIGNATURE = b"\x89PNG\r\n\x1a\n"
NOTHING = torch.zeros(3, 2)


def dot(x: float) -> Figure:
    """A figure that looks different for every x."""
    return plots.points(NOTHING + x, NOTHING)


@pytest.fixture(autouse=True)
def nobody_said_static(monkeypatch) -> None:
    monkeypatch.delenv("COURSE_STATIC", raising=False)


@pytest.fixture
def shown(monkeypatch) -> list[tuple]:
    """What is displayed: the arguments of each call."""
    calls: list[tuple] = []
    for place in (module, display_functions):  # a DisplayHandle displays through the latter
        monkeypatch.setattr(place, "display", lambda *arguments, **options: calls.append((*arguments, options)))
    return calls


# --- who is there ------------------------------------------------------------------------------------------------

def test_without_a_kernel_nobody_is_at_the_controls(monkeypatch):
    assert not is_live(), "no IPython at all"
    monkeypatch.setattr(module, "get_ipython", lambda: SimpleNamespace())
    assert not is_live(), "IPython in a terminal"


def test_with_a_kernel_somebody_is_unless_course_static_says_otherwise(monkeypatch):
    monkeypatch.setattr(module, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    assert is_live()
    monkeypatch.setenv("COURSE_STATIC", "1")
    assert not is_live()
    monkeypatch.setenv("COURSE_STATIC", "")
    assert is_live()


# --- the controls ------------------------------------------------------------------------------------------------

def sliders_of(box: ipywidgets.VBox) -> dict:
    """The sliders of an explorer by name."""
    return {slider.description: slider for slider in box.children}


def test_moving_a_slider_draws_the_chosen_values():
    asked, seen = [], []

    def draw(**chosen) -> Figure:
        asked.append(chosen)
        return dot(chosen["step"] / 100 + chosen["run"])

    sliders = sliders_of(explorer(draw, {"step": [0, 50, 100], "run": range(2)}, lambda figure: seen.append(png(figure))))
    assert asked == [], "the first picture is drawn before there is a slider"
    for name, place, chosen in (("step", 2, {"step": 100, "run": 0}), ("run", 1, {"step": 100, "run": 1}), ("step", 1, {"step": 50, "run": 1})):
        sliders[name].value = place
        assert asked[-1] == chosen
    assert len(asked) == 3 == len(set(seen)), "every move redraws, once"
    sliders["step"].value = 2
    assert seen[-1] == seen[1], "the same choice gives the same picture"


def test_sliders_are_named_show_the_choices_and_wait_for_the_mouse_to_be_released():
    sliders = sliders_of(explorer(lambda eps, unit: dot(0), {"eps": [0.0, 0.25], "unit": ["relu", "maxout"]}, print))
    assert list(sliders) == ["eps", "unit"]
    assert [label for label, _ in sliders["eps"].options] == ["0.0", "0.25"]
    assert [label for label, _ in sliders["unit"].options] == ["relu", "maxout"]
    assert all(not slider.continuous_update for slider in sliders.values())


def test_choices_that_look_alike_are_told_apart():
    asked = []
    sliders = sliders_of(explorer(lambda x: asked.append(x) or dot(0), {"x": [1, "1"]}, lambda figure: None))
    sliders["x"].value = 1
    sliders["x"].value = 0
    assert asked == ["1", 1]


def test_sliders_begin_where_they_are_told_to():
    asked = []
    draw = lambda **chosen: asked.append(chosen) or dot(0)
    sliders = sliders_of(explorer(draw, {"smile": range(-3, 4), "face": range(5)}, lambda figure: None, {"smile": 0}))
    assert sliders["smile"].value == 3 and sliders["face"].value == 0
    sliders["face"].value = 2
    assert asked == [{"smile": 0, "face": 2}]


@pytest.mark.parametrize("begin", [{"smile": 9}, {"frown": 0}])
def test_a_beginning_that_is_no_choice_is_refused_by_name(begin, shown):
    for call in (lambda: explorer(lambda **_: dot(0), {"smile": [0, 1]}, print, begin), lambda: explore(lambda **_: dot(0), lambda: dot(0), begin, smile=[0, 1])):
        with pytest.raises(ValueError, match="^begin: expected choices of smile, got "):
            call()
    assert shown == []


@pytest.mark.parametrize("choices", [{}, {"step": []}, {"step": [1], "run": range(0)}])
def test_no_choice_is_refused_by_name(choices, shown):
    drawn = []
    for call in (lambda: explorer(lambda **_: drawn.append(1) or dot(0), choices, print), lambda: explore(lambda **_: drawn.append(1) or dot(0), lambda: drawn.append(1) or dot(0), **choices)):
        with pytest.raises(ValueError, match="^choices: expected a name with at least one choice, got "):
            call()
    assert drawn == [] and shown == []


def test_a_figure_becomes_a_png():
    assert png(dot(1)).startswith(SIGNATURE) and png(dot(1)) == png(dot(1)) != png(dot(0))


def test_what_is_typed_is_drawn_and_what_cannot_be_is_answered():
    asked, seen = [], []

    def draw(text: str) -> Figure:
        asked.append(text)
        if not text.isdecimal():
            raise ValueError(f"text: expected a <number>, got {text!r}")
        return dot(int(text))

    box, message = asker(draw, "1", "caption", seen.append).children
    assert asked == seen == [] and box.description == "caption" and box.value == "1" and not box.continuous_update
    box.value = "two"
    assert message.value == "text: expected a &lt;number&gt;, got &#x27;two&#x27;" and seen == []
    box.value = "2"
    assert message.value == "" and asked == ["two", "2"] and [png(figure) for figure in seen] == [png(dot(2))]


def test_another_error_while_drawing_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        asker(lambda text: 1 / 0, "1", "caption", print).children[0].value = "2"


# What ipywidgets 7.7, which Colab has, and 8 have in common, of the widgets that the course uses.
WIDGET = {"layout"}
COMMON = {
    "Text": WIDGET | {"value", "placeholder", "description", "disabled", "continuous_update", "style"},
    "HTML": WIDGET | {"value", "placeholder", "description", "style"},
    "VBox": WIDGET | {"children", "box_style"},
    "SelectionSlider": WIDGET | {"options", "value", "index", "label", "description", "disabled", "continuous_update", "orientation", "readout", "style"},
}
COMMON_STYLE = {"description_width", "handle_color"}
COMMON_LAYOUT = {
    "width", "height", "min_width", "max_width", "min_height", "max_height", "margin", "padding", "display", "visibility", "flex", "flex_flow", "overflow",
    "align_items", "align_content", "align_self", "justify_content", "justify_items", "object_fit", "object_position", "order", "top", "right", "bottom", "left",
}


class Recorder:
    """Stands for the module ipywidgets and notes what is made of it."""

    def __init__(self) -> None:
        self.made: list[tuple[str, dict]] = []

    def __getattr__(self, name: str):
        def make(*arguments, **options):
            self.made.append((name, options))
            return getattr(ipywidgets, name)(*arguments, **options)
        return make


def test_only_what_ipywidgets_7_and_8_share_is_used(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(module, "ipywidgets", recorder)
    box = explorer(lambda step: dot(step), {"step": [0, 1]}, print)
    assert [name for name, _ in recorder.made] == ["SelectionSlider", "VBox"]
    for name, options in recorder.made:
        assert options.keys() <= COMMON[name], name
        assert options.get("style", {}).keys() <= COMMON_STYLE and options.get("layout", {}).keys() <= COMMON_LAYOUT
    recorder.made.clear()
    assert isinstance(asker(lambda text: dot(0), "1", "caption", print).model_id, str)
    assert [name for name, _ in recorder.made] == ["Text", "HTML", "VBox"]
    for name, options in recorder.made:
        assert options.keys() <= COMMON[name], name
        assert options.get("style", {}).keys() <= COMMON_STYLE and options.get("layout", {}).keys() <= COMMON_LAYOUT
    assert isinstance(box.model_id, str)


# --- the output --------------------------------------------------------------------------------------------------

def test_without_a_kernel_only_the_still_picture_is_shown(shown):
    figure = dot(1)
    explore(lambda step: pytest.fail("nobody can move it"), still=lambda: figure, step=[0, 1])
    assert shown == [(figure, {})]


def expect_controls_and_picture(shown: list[tuple], figure: Figure) -> None:
    """The two outputs: controls, which a page without their kernel can't show, and a picture, which it can."""
    (controls, first), (picture, second) = shown
    assert first == {"raw": True} and controls.keys() == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    view = controls["application/vnd.jupyter.widget-view+json"]
    assert (view["version_major"], view["version_minor"]) == (2, 0) and view["model_id"]
    assert second.pop("display_id") and second == {"raw": True} and picture.keys() == {"image/png", "text/plain"} and picture["image/png"] == png(figure)


def test_with_a_kernel_the_picture_is_an_output_of_its_own(shown, monkeypatch):
    monkeypatch.setattr(module, "is_live", lambda: True)
    explore(dot, still=lambda: dot(7), x=[0, 1])
    expect_controls_and_picture(shown, dot(0))
    shown.clear()
    explore(dot, still=lambda: dot(7), begin={"x": 1}, x=[0, 1])
    expect_controls_and_picture(shown, dot(1))


def test_a_first_picture_that_cannot_be_drawn_leaves_no_controls_behind(shown, monkeypatch):
    monkeypatch.setattr(module, "is_live", lambda: True)
    with pytest.raises(ZeroDivisionError):
        explore(lambda x: 1 / 0, still=lambda: dot(7), x=[0, 1])
    with pytest.raises(ZeroDivisionError):
        ask(lambda text: 1 / 0, still=lambda: dot(7), first="1")
    assert shown == []


def test_who_cannot_type_sees_the_still_picture_alone_and_who_can_types(shown, monkeypatch):
    figure = dot(1)
    ask(lambda text: pytest.fail("nobody can type"), still=lambda: figure, first="1")
    assert shown.pop() == (figure, {})
    monkeypatch.setattr(module, "is_live", lambda: True)
    ask(lambda text: dot(int(text)), still=lambda: dot(7), first="3")
    expect_controls_and_picture(shown, dot(3))


# --- in a kernel -------------------------------------------------------------------------------------------------

CELL = """
import torch
from course_utils import plots
from course_utils.explore import explore
explore(lambda x: plots.points(torch.zeros(3, 2) + x, torch.zeros(3, 2)), still=plots.players, x=[0, 1, 2])
"""
STATIC = "import os; os.environ['COURSE_STATIC'] = '1'\n" + CELL


class Kernel:
    """A notebook's kernel, and what it sends while it runs a cell or a slider is moved."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "COURSE_STATIC"}
        self.manager, self.client = start_new_kernel(60, CURRENT_ENV_KERNEL_NAME, env=environment, cwd=str(ROOT))

    def until_idle(self, request: str) -> list[dict]:
        messages = []
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") == request:
                messages.append(message)
                if message["msg_type"] == "error":
                    pytest.fail("\n".join(message["content"]["traceback"]))
                if message["content"].get("execution_state") == "idle":
                    return messages

    def run(self, cell: str) -> list[dict]:
        return self.until_idle(self.client.execute(cell))

    def move(self, slider: str, place: int) -> list[dict]:
        """What a browser sends when someone moves a slider."""
        content = {"comm_id": slider, "data": {"method": "update", "state": {"index": place}, "buffer_paths": []}}
        message = self.client.session.msg("comm_msg", content)
        self.client.shell_channel.send(message)
        return self.until_idle(message["header"]["msg_id"])

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel():
    running = Kernel()
    yield running
    running.stop()


def outputs(messages: list[dict]) -> list[dict]:
    assert not [m for m in messages if m["msg_type"] in ("stream", "execute_result")]
    return [m["content"]["data"] for m in messages if m["msg_type"] == "display_data"]


def test_a_kernel_sends_controls_and_a_picture_of_its_own_and_a_slider_redraws_it(kernel):
    messages = kernel.run(CELL)
    controls, picture = outputs(messages)
    assert picture.keys() == {"image/png", "text/plain"}, "a stored notebook shows it without a kernel"
    assert base64.b64decode(picture["image/png"]).startswith(SIGNATURE)
    place = next(m["content"]["transient"]["display_id"] for m in messages if m["msg_type"] == "display_data" and "image/png" in m["content"]["data"])
    opened = {m["content"]["comm_id"]: m for m in messages if m["msg_type"] == "comm_open"}
    models = {m["content"]["data"]["state"]["_model_name"]: id_ for id_, m in opened.items()}
    assert controls["application/vnd.jupyter.widget-view+json"] == {"version_major": 2, "version_minor": 0, "model_id": models["VBoxModel"]}

    def redrawn(choice: int) -> str:
        messages = kernel.move(models["SelectionSliderModel"], choice)
        update, = [m["content"] for m in messages if m["msg_type"] == "update_display_data"]
        assert update["transient"] == {"display_id": place} and update["data"].keys() == {"image/png", "text/plain"}
        assert not any(m.get("buffers") for m in messages), "not every page takes binary buffers"
        return update["data"]["image/png"]

    second, third = redrawn(1), redrawn(2)
    assert base64.b64decode(second).startswith(SIGNATURE) and len({picture["image/png"], second, third}) == 3
    assert redrawn(1) == second and redrawn(0) == picture["image/png"]


def test_a_stored_notebook_keeps_the_picture_and_loses_only_the_controls(kernel):
    """What tools/run.py stores of an explorer that was live."""
    messages = [m for m in kernel.run(CELL) if m["msg_type"] == "display_data"]
    cell = nbformat.v4.new_code_cell(CELL, outputs=[nbformat.v4.output_from_msg(m) for m in messages])
    stored = strip(nbformat.v4.new_notebook(cells=[cell]))
    output, = stored.cells[0].outputs
    assert base64.b64decode(output.data["image/png"]).startswith(SIGNATURE)


def test_with_course_static_a_kernel_sends_the_picture_alone(kernel):
    messages = kernel.run(STATIC)
    bundle, = outputs(messages)
    assert bundle.keys() == {"image/png", "text/plain"} and base64.b64decode(bundle["image/png"]).startswith(SIGNATURE)
    assert not [m for m in messages if m["msg_type"] == "comm_open"]
