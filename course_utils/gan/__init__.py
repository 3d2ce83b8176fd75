"""Generative adversarial networks: losses, the alternating step, samplers of z, metrics."""
from course_utils.gan.began import Balance, ReconstructionError, began_step
from course_utils.gan.conditional import conditional_step
from course_utils.gan.cycle import CycleNets, Pool, cycle_objective, cycle_step
from course_utils.gan.losses import HINGE, LEAST_SQUARES, MINIMAX, NON_SATURATING, WASSERSTEIN, GANLoss, minimax_value
from course_utils.gan.noise import gaussian, uniform
from course_utils.gan.penalty import GradientPenalty, between, clip_after_each_step, gradient_norm
from course_utils.gan.step import critic_step, frozen, gan_step, generator_step
from course_utils.gan.text import NearMisses, cls_loss, interpolate, text_step
from course_utils.gan.translate import regression_step, translate_step

__all__ = [
    "HINGE", "LEAST_SQUARES", "MINIMAX", "NON_SATURATING", "WASSERSTEIN", "Balance", "CycleNets", "GANLoss",
    "GradientPenalty", "NearMisses", "Pool", "ReconstructionError", "began_step", "between", "clip_after_each_step",
    "cls_loss", "conditional_step", "critic_step", "cycle_objective", "cycle_step", "frozen", "gan_step", "gaussian",
    "generator_step", "gradient_norm", "interpolate", "minimax_value", "regression_step", "text_step", "translate_step",
    "uniform",
]
