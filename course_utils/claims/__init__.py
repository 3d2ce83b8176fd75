"""Claims: what the course states, measured against a control, checked and recorded."""
from course_utils.claims.check import ClaimFails, check
from course_utils.claims.papers import Quoted, print_verdicts
from course_utils.claims.parts import at_least, at_most, is_true

__all__ = ["ClaimFails", "Quoted", "at_least", "at_most", "check", "is_true", "print_verdicts"]
