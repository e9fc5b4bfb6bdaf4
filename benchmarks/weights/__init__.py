"""What curvature costs in time and memory."""
