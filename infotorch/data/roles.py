"""Which column, or key of a dict, stands for which field of Samples."""

ROLES = {
    "x": ("x", "input", "inputs", "image", "images", "img", "pixel_values", "input_ids"),
    "y": ("y", "label", "labels", "target", "targets"),
    "ids": ("id", "ids"),
    "texts": ("text", "texts"),
}
"""The names that stand for a field of Samples; any other is metadata."""

TOKENIZE = "Tokenize it: add input_ids, integers padded to one length."
"""What to do where there are texts and nothing that a model takes."""
