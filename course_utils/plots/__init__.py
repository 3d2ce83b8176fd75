"""Figures: one call, one figure. Every call returns a matplotlib Figure; end a cell with it to see it."""
from course_utils.plots.attacks import attack, attack_strips, frames, logit_lines, regions
from course_utils.plots.borders import border_steps
from course_utils.plots.cross_sections import cross_sections
from course_utils.plots.curves import bars, curves, spread
from course_utils.plots.losses import loss_curves
from course_utils.plots.matrices import matrices
from course_utils.plots.pictures import picture_captions, picture_grid, picture_rows, picture_strip
from course_utils.plots.players import players
from course_utils.plots.points import point_strip, points
from course_utils.plots.scatter import scatter
from course_utils.plots.style import new_figure, use_style
from course_utils.plots.transfer import tables

use_style()

__all__ = [
    "attack", "attack_strips", "bars", "border_steps", "cross_sections", "curves", "frames", "logit_lines", "loss_curves", "matrices", "new_figure", "picture_captions", "picture_grid", "picture_rows", "picture_strip", "players", "point_strip",
    "points", "regions", "scatter", "spread", "tables", "use_style",
]
