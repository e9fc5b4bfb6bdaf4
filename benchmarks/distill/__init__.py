"""Students of a teacher, as it is at its end and as it was on the way, beside students of the labels alone."""
