"""Information in weights: what a network holds of its labels, true and random ones."""
