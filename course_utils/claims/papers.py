"""A paper's figure beside the one measured here, with a verdict."""
from __future__ import annotations

from dataclasses import dataclass

from course_utils.claims.say import say
from course_utils.validate import expect

VERDICTS = ("reproduced", "direction only", "not reproduced", "not run")


@dataclass(frozen=True)
class Quoted:
    """``what`` a paper reports, as a ``figure``, on the data set ``data`` (a name that ``load`` knows), and how near counts.

    ``within`` is the largest difference that counts as reproduced. ``beyond`` is a figure that a measurement has to lie beyond, on the paper's side, to agree in
    direction: that of the control which the paper argues against.
    """

    what: str
    figure: float
    data: str
    within: float
    beyond: float

    def verdict(self, measured: float, data: str) -> str:
        """'not run' on other data than the paper's; else 'reproduced', 'direction only' or 'not reproduced'."""
        expect(self.figure != self.beyond, "beyond", "another figure than the paper's", self.beyond)
        if data != self.data:
            return "not run"
        if abs(measured - self.figure) <= self.within:
            return "reproduced"
        return "direction only" if (measured - self.beyond) * (self.figure - self.beyond) > 0 else "not reproduced"


def print_verdicts(rows: list[tuple[Quoted, float]], data: str) -> None:
    """A line for each quoted figure: what it is, the paper's figure, the one ``measured`` on ``data``, the verdict."""
    width = max(len(quoted.what) for quoted, _ in rows)
    say(f"{'':{width}}  {'paper':>7}  {'here':>7}")
    for quoted, measured in rows:
        verdict = quoted.verdict(float(measured), data)
        note = f" ({data}, not {quoted.data})" if verdict == "not run" else ""
        say(f"{quoted.what:{width}}  {quoted.figure:7.4g}  {float(measured):7.4g}  {verdict}{note}")
