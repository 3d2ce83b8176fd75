"""The one call with which a notebook holds a statement against what it measured."""
from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

from course_utils import runtime
from course_utils.claims import record
from course_utils.claims.parts import Part
from course_utils.claims.say import say
from course_utils.validate import expect


class ClaimFails(AssertionError):
    """A claim does not hold on what was measured."""


def check(id_: str, *parts: Part, against: str) -> None:
    """Print one line on claim ``id_``, keep its record, and raise ClaimFails unless every part holds.

    Where the record can't be written the claim is checked all the same; a warning says so, once.

    In the full profile nothing is raised: the limits were set for the quick one, and hours of training would be lost. The
    claim stays false in the record, and so in the table of all claims.

    ``parts`` come from ``at_most``, ``at_least`` and ``is_true``; ``against`` names the control in words. Raises
    ValueError for an id that the course does not have, for no parts or parts made otherwise, or for no control.
    """
    known = record.statements()
    expect(id_ in known, "id_", f"one of the course's claims, {', '.join(known)}", repr(id_))
    expect(len(parts) > 0 and all(isinstance(p, Part) for p in parts), "parts", "at_most(...), at_least(...) or is_true(...)", parts)
    expect(isinstance(against, str) and against.strip() != "", "against", "the control in words", repr(against))
    holds = all(part.holds for part in parts)
    line = f"{'✓' if holds else '✗'} {id_} {known[id_]}: {'; '.join(map(str, parts))}. Against: {against}."
    say(line)
    try:
        record.write(id_, parts, against)
    except OSError as error:
        _warn_of(record.folder(runtime.profile(), runtime.base_seed()), error.strerror or type(error).__name__)
    if not holds and runtime.profile() != "full":
        raise ClaimFails(line)


@cache
def _warn_of(folder: Path, reason: str) -> None:
    """Say, once for each folder and reason, that no record was kept."""
    warnings.warn(f"claims are checked, but their records can't be kept in {folder} ({reason}): "
                  "set COURSE_BUILD_DIR to a folder that can be written", stacklevel=3)
