"""Ready learners, and a name for what any learner does."""
