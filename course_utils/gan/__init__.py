"""Generative adversarial networks: losses, the alternating step, samplers of z, metrics."""
from course_utils.gan.conditional import conditional_step
from course_utils.gan.losses import MINIMAX, NON_SATURATING, GANLoss, minimax_value
from course_utils.gan.noise import gaussian, uniform
from course_utils.gan.step import critic_step, frozen, gan_step, generator_step
from course_utils.gan.translate import regression_step, translate_step

__all__ = [
    "MINIMAX", "NON_SATURATING", "GANLoss", "conditional_step", "critic_step", "frozen", "gan_step", "gaussian", "generator_step",
    "minimax_value", "regression_step", "translate_step", "uniform",
]
