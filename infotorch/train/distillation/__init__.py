"""A student network that learns from a teacher's predictions, along the teacher's own training or at its end."""
