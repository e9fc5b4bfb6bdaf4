"""The compiled module. Importing it registers ``torch.ops.infotorch``."""

build: dict[str, str]
"""Facts of the build: compiler, torch."""
