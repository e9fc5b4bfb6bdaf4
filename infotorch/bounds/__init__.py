"""Generalization bounds from training runs: f-CMI and its family, with what their estimates are worth."""
