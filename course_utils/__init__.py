"""Helpers of the course on generative adversarial networks and adversarial examples."""
