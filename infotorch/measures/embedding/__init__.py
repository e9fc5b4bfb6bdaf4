"""Task embeddings: which filters of a probe network a task needs, and how far tasks are from each other."""

from infotorch.measures.embedding.embedding import Embedding
from infotorch.measures.embedding.task_distance import KINDS, task_distance
from infotorch.measures.embedding.task_embedding import task_embedding

__all__ = ["KINDS", "Embedding", "task_distance", "task_embedding"]
