"""The cells that are missing, trained: here, in processes, in any executor."""
