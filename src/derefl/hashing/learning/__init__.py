"""Data, losses, training and evaluation of the hashing models. Inference does not need it."""
