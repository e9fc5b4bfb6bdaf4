"""What a network holds of its labels, and what its curvature costs."""
