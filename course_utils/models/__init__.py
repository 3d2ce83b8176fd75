"""Architectures. A classifier maps pictures (B, C, H, W) in [0, 1] to logits (B, K), a critic to logits (B,)."""
from course_utils.models.classifier import ConvNet
from course_utils.models.dcgan import DCCritic, DCGenerator, dcgan_init
from course_utils.models.fully_connected import FCCritic, FCGenerator
from course_utils.models.mlp import mlp, mlp_critic
from course_utils.models.stack import Stack

__all__ = ["ConvNet", "DCCritic", "DCGenerator", "FCCritic", "FCGenerator", "Stack", "dcgan_init", "mlp", "mlp_critic"]
