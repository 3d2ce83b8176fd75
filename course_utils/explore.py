"""Explorers: sliders or a box for text over a drawing function, or a still picture where nobody can move them.

The picture is an output of its own below the controls. So a notebook that was saved and opened again still has it where the controls
are gone with their kernel; and it needs no widget that sends bytes, which not every page with notebooks can.
"""
from __future__ import annotations

import html
import io
import os
from collections.abc import Callable, Sequence

import ipywidgets
from IPython import get_ipython
from IPython.display import DisplayHandle, display
from matplotlib.figure import Figure

from course_utils.validate import expect


def is_live() -> bool:
    """Whether a person may be at the controls: in a notebook's kernel, and ``COURSE_STATIC`` not set."""
    return getattr(get_ipython(), "kernel", None) is not None and not os.environ.get("COURSE_STATIC")


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", bbox_inches="tight")
    return stream.getvalue()


def control(name: str, choices: Sequence, first: object = None) -> ipywidgets.Widget:
    """A slider over ``choices``, which are shown as they are; it begins at ``first``, at the left end for None."""
    return ipywidgets.SelectionSlider(
        options=[(str(choice), i) for i, choice in enumerate(choices)], value=0 if first is None else list(choices).index(first), description=name,
        continuous_update=False, style={"description_width": "initial"}, layout={"width": "90%"},
    )


def _expect_choices(choices: dict[str, Sequence], begin: dict[str, object]) -> None:
    expect(len(choices) > 0 and all(len(values) for values in choices.values()), "choices", "a name with at least one choice", choices)
    expect(all(name in choices and value in choices[name] for name, value in begin.items()), "begin", f"choices of {', '.join(choices)}", begin)


def explorer(draw: Callable[..., Figure], choices: dict[str, Sequence], show: Callable[[Figure], None], begin: dict[str, object] | None = None) -> ipywidgets.VBox:
    """One slider per entry of ``choices``; moving one hands ``draw(**chosen)`` to ``show``.

    ``draw`` is called with one value of each entry, by name, and returns a Figure. ``begin`` says where sliders
    begin, by name; the others begin at their left end. Widgets used are common to ipywidgets 7 and 8. Raises
    ValueError for no entry or an empty one, and for a beginning that is no choice.
    """
    begin = begin or {}
    _expect_choices(choices, begin)
    controls = {name: control(name, values, begin.get(name)) for name, values in choices.items()}

    def redraw(_change: object) -> None:
        show(draw(**{name: choices[name][slider.value] for name, slider in controls.items()}))

    for slider in controls.values():
        slider.observe(redraw, names="value")
    return ipywidgets.VBox([*controls.values()])


def explore(draw: Callable[..., Figure], still: Callable[[], Figure], begin: dict[str, object] | None = None, **choices: Sequence) -> None:
    """Show an explorer of ``draw`` where someone can move it, otherwise the figure that ``still()`` draws.

    ``begin``: see ``explorer``. Raises ValueError for no choice, wherever it runs.
    """
    begin = begin or {}
    _expect_choices(choices, begin)
    if not is_live():
        display(still())
        return
    _show_both(draw(**{name: begin.get(name, values[0]) for name, values in choices.items()}), lambda show: explorer(draw, choices, show, begin))


def asker(draw: Callable[[str], Figure], first: str, name: str, show: Callable[[Figure], None]) -> ipywidgets.VBox:
    """A box for text, called ``name``, that begins with ``first``; for whatever is entered ``draw(text)`` is handed to ``show``.

    Where ``draw`` raises ValueError, its message stands below the box and the picture stays as it was. Widgets used are
    common to ipywidgets 7 and 8.
    """
    box = ipywidgets.Text(
        value=first, description=name, continuous_update=False, style={"description_width": "initial"}, layout={"width": "90%"},
    )
    message = ipywidgets.HTML()

    def redraw(_change: object) -> None:
        try:
            show(draw(box.value))
            message.value = ""
        except ValueError as reason:
            message.value = html.escape(str(reason))

    box.observe(redraw, names="value")
    return ipywidgets.VBox([box, message])


def ask(draw: Callable[[str], Figure], still: Callable[[], Figure], first: str, name: str = "text") -> None:
    """Show an ``asker`` of ``draw`` where someone can type, otherwise the figure that ``still()`` draws; see ``explore``."""
    if not is_live():
        display(still())
        return
    _show_both(draw(first), lambda show: asker(draw, first, name, show))


def _show_both(first: Figure, controls: Callable[[Callable[[Figure], None]], ipywidgets.VBox]) -> None:
    """The controls, and below them ``first`` as an output of its own, which every later picture takes the place of."""
    output = DisplayHandle()
    widget = controls(lambda figure: output.update(_picture(figure), raw=True))
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    picture = _picture(first)
    display({"application/vnd.jupyter.widget-view+json": view, "text/plain": "controls"}, raw=True)
    output.display(picture, raw=True)


def _picture(figure: Figure) -> dict[str, object]:
    return {"image/png": png(figure), "text/plain": "picture"}
