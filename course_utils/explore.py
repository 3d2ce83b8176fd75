"""Explorers: sliders or a box for text over a drawing function, or a still picture where nobody can move them."""
from __future__ import annotations

import html
import io
import os
from collections.abc import Callable, Sequence

import ipywidgets
from IPython import get_ipython
from IPython.display import display
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


def explorer(draw: Callable[..., Figure], choices: dict[str, Sequence], begin: dict[str, object] | None = None) -> ipywidgets.VBox:
    """One slider per entry of ``choices``; moving one redraws ``draw(**chosen)`` as a picture.

    ``draw`` is called with one value of each entry, by name, and returns a Figure. ``begin`` says where sliders
    begin, by name; the others begin at their left end. Widgets used are common to ipywidgets 7 and 8. Raises
    ValueError for no entry or an empty one, and for a beginning that is no choice.
    """
    begin = begin or {}
    _expect_choices(choices, begin)
    controls = {name: control(name, values, begin.get(name)) for name, values in choices.items()}
    picture = ipywidgets.Image(format="png", layout={"align_self": "flex-start", "max_width": "100%", "object_fit": "contain"})

    def redraw(_change: object = None) -> None:
        picture.value = png(draw(**{name: choices[name][slider.value] for name, slider in controls.items()}))

    for slider in controls.values():
        slider.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*controls.values(), picture])


def explore(draw: Callable[..., Figure], still: Callable[[], Figure], begin: dict[str, object] | None = None, **choices: Sequence) -> None:
    """Show an explorer of ``draw`` where someone can move it, otherwise the figure that ``still()`` draws.

    In a notebook both go out as one output: a page that can't run widgets (a stored notebook, HTML, GitHub)
    shows the still picture. ``begin``: see ``explorer``. Raises ValueError for no choice, wherever it runs.
    """
    _expect_choices(choices, begin or {})
    if not is_live():
        display(still())
        return
    _show_with_still(explorer(draw, choices, begin), still)


def asker(draw: Callable[[str], Figure], first: str, name: str) -> ipywidgets.VBox:
    """A box for text, called ``name``; whatever is entered is drawn by ``draw(text)`` as a picture. It begins with ``first``.

    Where ``draw`` raises ValueError, its message stands below the box and the picture stays as it was. Widgets used are
    common to ipywidgets 7 and 8.
    """
    box = ipywidgets.Text(
        value=first, description=name, continuous_update=False, style={"description_width": "initial"}, layout={"width": "90%"},
    )
    message = ipywidgets.HTML()
    picture = ipywidgets.Image(format="png", layout={"align_self": "flex-start", "max_width": "100%", "object_fit": "contain"})

    def redraw(_change: object = None) -> None:
        try:
            picture.value, message.value = png(draw(box.value)), ""
        except ValueError as reason:
            message.value = html.escape(str(reason))

    box.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([box, message, picture])


def ask(draw: Callable[[str], Figure], still: Callable[[], Figure], first: str, name: str = "text") -> None:
    """Show an ``asker`` of ``draw`` where someone can type, otherwise the figure that ``still()`` draws; see ``explore``."""
    if not is_live():
        display(still())
        return
    _show_with_still(asker(draw, first, name), still)


def _show_with_still(widget: ipywidgets.VBox, still: Callable[[], Figure]) -> None:
    """One output that holds both: who can't run widgets shows the picture."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    display({"application/vnd.jupyter.widget-view+json": view, "image/png": png(still()), "text/plain": "explorer"}, raw=True)
