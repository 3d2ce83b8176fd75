"""Claims: what the course states, measured against a control, checked and recorded."""
from course_utils.claims.check import ClaimFails, check
from course_utils.claims.papers import Quoted, print_verdicts
from course_utils.claims.parts import at_least, at_most, is_true
from course_utils.claims.table import overview, recorded

__all__ = ["ClaimFails", "Quoted", "at_least", "at_most", "check", "is_true", "overview", "print_verdicts", "recorded"]
