"""Architectures. A classifier maps pictures (B, C, H, W) in [0, 1] to logits (B, K), a critic to logits (B,)."""
from course_utils.models.autoencoder import ELUGenerator, FCAutoEncoder
from course_utils.models.classifier import ConvNet
from course_utils.models.conditional import ConditionalCritic, ConditionalGenerator
from course_utils.models.dcgan import DCCritic, DCGenerator, dcgan_init
from course_utils.models.family import family
from course_utils.models.fully_connected import FCCritic, FCGenerator
from course_utils.models.mlp import mlp, mlp_critic
from course_utils.models.patch import PatchCritic, footprint, measured_receptive_field, receptive_field
from course_utils.models.rbf import RBF, RBFClassifier, deep_rbf, own_loss, own_losses
from course_utils.models.spectral import spectral_norm
from course_utils.models.stack import Stack
from course_utils.models.text import TextCritic, TextEncoder, TextGenerator
from course_utils.models.translator import Translator, instance_norm
from course_utils.models.unet import Colouring, UNet, recolour

__all__ = [
    "Colouring", "ConditionalCritic", "ConditionalGenerator", "ConvNet", "DCCritic", "DCGenerator", "ELUGenerator",
    "FCAutoEncoder", "FCCritic", "FCGenerator", "PatchCritic", "RBF", "RBFClassifier", "Stack", "TextCritic", "TextEncoder", "TextGenerator",
    "Translator", "UNet", "dcgan_init", "family", "deep_rbf", "footprint", "instance_norm", "measured_receptive_field", "mlp", "mlp_critic", "own_loss", "own_losses",
    "receptive_field", "recolour", "spectral_norm",
]
