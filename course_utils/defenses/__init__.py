"""Defences: a loss (at training), a wrapper Model -> Model (at test time) or a constructor; most of them fail, and the course shows how."""
from course_utils.defenses.adversarial import adversarial
from course_utils.defenses.autoencoder import Redrawing, learn_to_restore
from course_utils.defenses.codes import Decoded, bits_loss, codewords
from course_utils.defenses.confidence import Hedged
from course_utils.defenses.randomised import Glimpses, Noise
from course_utils.defenses.regularisers import double_backprop, noisy, small_weights

__all__ = ["Decoded", "Glimpses", "Hedged", "Noise", "Redrawing", "adversarial", "bits_loss", "codewords", "double_backprop", "learn_to_restore", "noisy", "small_weights"]
