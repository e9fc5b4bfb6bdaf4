"""Docstrings as the site reads them: formulas, names and examples in reStructuredText become Markdown."""

import re
from typing import Any

from griffe import Attribute, Extension, Function, Object


def display(found: re.Match[str]) -> str:
    """A formula on lines of its own; several lines are aligned, as Sphinx has it."""
    tex = " ".join(line.strip() for line in found["tex"].splitlines()).strip()
    if "\\\\" in tex:
        tex = rf"\begin{{aligned}} {tex} \end{{aligned}}"
    return f"$${tex}$$\n"


def markdown(text: str, returns: object = None) -> str:
    """The docstring with the roles and directives that infotorch uses in Markdown.

    Args:
        text: The docstring.
        returns: The annotation of what comes back, to stand before its description: a first line with a colon would be
            split there otherwise.
    """
    text = re.sub(r"^\.\. math::(?P<tex>.*\n?(?:[ ]+.*\n?|\n(?=[ ]))*)", display, text, flags=re.M)
    text = re.sub(r":math:`([^`]+)`", lambda found: f"${' '.join(found[1].split())}$", text)
    text = re.sub(r":(?:class|data|func|meth|mod):`~?([^`]+)`", r"`\1`", text)
    text = re.sub(r"(: |^ *)>(?!>>)", r"\1\\>", text, flags=re.M)  # "beta: > 0" quotes nobody
    if returns is not None:
        text = re.sub(r"^(Returns:\n +)", lambda found: f"{found[1]}{returns}: ", text, flags=re.M)
    return re.sub(r"^Example:$", "Examples:", text, flags=re.M)


class Docstrings(Extension):
    """Rewrites every docstring before its sections are read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Of modules, classes, functions and attributes alike."""
        if obj.docstring is not None:
            returns = obj.annotation if isinstance(obj, Attribute | Function) else None
            obj.docstring.value = markdown(obj.docstring.value, returns)
