"""Speed of what bounds are estimated with."""
