"""Bounds as functions of what they are given: informations, gradients, one trained network."""
