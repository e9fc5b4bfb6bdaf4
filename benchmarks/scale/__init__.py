"""Unique information of whole data sets: time, memory, and how near the sketched scores come to the exact ones."""
