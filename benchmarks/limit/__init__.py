"""Trainings on wrong labels, with LIMIT and with what it is compared with; figures and what they must be."""
