"""What MkDocs does beyond its plugins: public names of infotorch are found, and formulas need no script."""

import ast
import html
import pathlib
import re
from functools import cache
from typing import Any

from latex2mathml.converter import convert

HOUSE = pathlib.Path(__file__).parents[1]


@cache
def imports(module: str) -> dict[str, str]:
    """Where each name that ``module`` imports comes from; nothing for what is no module."""
    path = HOUSE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.exists():
        return {}
    found = {}
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ImportFrom():
                found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                if "__getattr__" in found:
                    found |= imports(found["__getattr__"].rpartition(".")[0])
            case ast.Assign(targets=[ast.Name("ADAPTERS")]):  # imported when they are asked for
                found |= {name: f"infotorch.train.{file}.{name}" for name, file in ast.literal_eval(node.value).items()}
    return found


def defined(name: str) -> str:
    """Where the public ``name`` is defined: ``infotorch.blocks.fisher.fisher`` for ``infotorch.fisher``.

    Packages and their functions share names here (``infotorch.capture``), so that this can't be left to a search.
    """
    module, _, last = name.rpartition(".")
    while (source := imports(module).get(last)) is not None:
        module, _, last = source.rpartition(".")
    return f"{module}.{last}"


def documented(found: re.Match[str]) -> str:
    """A directive for the object, under the name by which it is imported and with an anchor of that name."""
    name = found[1]
    options = f'    options:\n      heading: "{name}"\n      toc_label: "{name.rpartition(".")[2]}"\n'
    return f'<a id="{name}"></a>\n\n::: {defined(name)}\n{options}'


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lines ``::: infotorch.name`` become what mkdocstrings can follow."""
    return re.sub(r"^::: (infotorch[\w.]+)$", documented, markdown, flags=re.M)


def on_page_content(content: str, **_: Any) -> str:
    """Formulas become MathML, which browsers draw on their own."""

    def mathml(found: re.Match[str]) -> str:
        tag, tex = found[1], html.unescape(found[2].strip())
        drawn = convert(tex[2:-2], display="block" if tag == "div" else "inline")
        return drawn.replace(r">\{<", ">{<").replace(r">\}<", ">}<")  # it leaves the backslash of a sized brace

    return re.sub(r'<(span|div) class="arithmatex">(.*?)</\1>', mathml, content, flags=re.S)
