"""Architectures. A classifier maps pictures (B, C, H, W) in [0, 1] to logits (B, K), a critic to logits (B,)."""
from course_utils.models.classifier import ConvNet
from course_utils.models.fully_connected import FCCritic, FCGenerator
from course_utils.models.mlp import mlp, mlp_critic
from course_utils.models.stack import Stack

__all__ = ["ConvNet", "FCCritic", "FCGenerator", "Stack", "mlp", "mlp_critic"]
