"""Attacks: pure functions ``attack(model, x, y, *, eps, ...) -> x_adv``, everything in [0, 1], the model left as it was."""
from course_utils.attacks.ball import BALLS, ball_of
from course_utils.attacks.call import AttackWarning, cross_entropies
from course_utils.attacks.fgsm import fgsm
from course_utils.attacks.lbfgs import Found, lbfgs
from course_utils.attacks.pgd import iterated, least_likely, pgd

__all__ = [
    "BALLS", "AttackWarning", "Found", "ball_of", "cross_entropies", "fgsm", "iterated", "lbfgs", "least_likely", "pgd",
]
