"""Attacks: pure functions ``attack(model, x, y, *, eps, ...) -> x_adv``, everything in [0, 1], the model left as it was."""
from course_utils.attacks.ball import BALLS, ball_of
from course_utils.attacks.blackbox import along_the_label, at_random, substitute
from course_utils.attacks.call import AttackWarning, cross_entropies
from course_utils.attacks.classic import SmoothNeighbours, across_hyperplane, shortest_path
from course_utils.attacks.detect import Doubts, DoubtWarning, doubts
from course_utils.attacks.ensemble import Ensemble, ensemble
from course_utils.attacks.expectation import Expectation, expectation, log_losses
from course_utils.attacks.fgsm import fgsm
from course_utils.attacks.lbfgs import Found, lbfgs
from course_utils.attacks.pgd import iterated, least_likely, pgd
from course_utils.attacks.physical import Camera, Destruction, destruction_rate, jpeg
from course_utils.attacks.saliency import saliency

__all__ = [
    "BALLS", "AttackWarning", "Camera", "Destruction", "DoubtWarning", "Doubts", "Ensemble", "Expectation", "Found",
    "SmoothNeighbours", "across_hyperplane", "along_the_label", "at_random", "ball_of", "cross_entropies", "destruction_rate", "doubts", "ensemble", "expectation", "fgsm", "iterated", "jpeg",
    "lbfgs", "least_likely", "log_losses", "pgd", "saliency", "shortest_path", "substitute",
]
