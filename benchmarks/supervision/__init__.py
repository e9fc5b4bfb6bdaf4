"""Supervision complexity: its kernel against torch.func, and brackets without a kernel at scale."""
