"""The site builds without a warning, opens without a network, and has every page and every public name."""

import importlib
import inspect
import os
import pathlib
import pkgutil
import re
import sys
import zlib
from html.parser import HTMLParser

import pytest

import infotorch
from infotorch.cli.app import COMMANDS
from infotorch.train.adapters import ADAPTERS
from tests import ahead

hooks = pytest.importorskip("docs.hooks", reason="no latex2mathml: it comes with the docs extra")
docstrings = pytest.importorskip("docs.docstrings", reason="no griffe: it comes with the docs extra")
HOUSE = pathlib.Path(__file__).parents[1]
DOCS = HOUSE / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LOADS = {"script", "link", "img", "iframe", "source", "object", "embed", "video", "audio", "use", "image"}
"""Elements that make a browser fetch something."""


def rooms():
    """Every module of infotorch whose ``__all__`` is for users: packages, and the modules that these export."""
    names = ["infotorch", *(f"infotorch.{m.name}" for m in pkgutil.iter_modules(infotorch.__path__) if m.ispkg)]
    for name in names:
        module = importlib.import_module(name)
        if name != "infotorch.cli" and hasattr(module, "__all__"):
            yield module
            if name != "infotorch":
                yield from filter(inspect.ismodule, (getattr(module, each) for each in module.__all__))


def public():
    """Every public name, in full, with what it is; modules have their own names."""
    for room in rooms():
        yield from ((f"{room.__name__}.{name}", getattr(room, name)) for name in room.__all__)
    yield from ((f"infotorch.train.{name}", None) for name in ADAPTERS)


NAMES = [name for name, what in public() if not inspect.ismodule(what)]


class Fetches(HTMLParser):
    """What a browser would fetch from elsewhere to show a page."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in LOADS and values.get("rel") != "canonical":
            each = [values.get(name) or "" for name in ("src", "href", "srcset", "data", "poster")]
            self.found += [(tag, value) for value in each if re.match(r"(?:https?:)?//", value.strip())]


def built():
    """The folder of the site, which is deleted with the object."""
    out = ahead.folder()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out.name]
    done = ahead.run(*command, cwd=HOUSE, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return out


pytestmark = pytest.mark.ahead.with_args(built)


@pytest.fixture(scope="module")
def site():
    return pathlib.Path(ahead.soon(built).result().name)


@pytest.fixture(scope="module")
def inventory(site):
    """Where each documented name stands: {name: page}."""
    text = zlib.decompress((site / "objects.inv").read_bytes().partition(b"zlib.\n")[2]).decode()
    rows = [line.split() for line in text.splitlines()]
    return {row[0]: row[3].partition("#")[0] for row in rows if row[2] == "1"}


def test_every_page_is_there(site):
    for page in PAGES:
        html = page.relative_to(DOCS).with_name("index.md" if page.name == "README.md" else page.name)
        assert (site / html.with_suffix(".html")).exists(), page


def test_no_page_fetches_anything_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    assert not {page.name: found for page in pages if (found := Fetches(page.read_text()).found)}
    styles = "".join(page.read_text() for page in site.rglob("*.css"))
    assert not re.findall(r"url\(\s*[\"']?(?:https?:)?//[^)]*|@import[^;]*//[^;]*", styles)


def test_fetches_are_seen():
    text = '<a href="https://a"></a><link rel="icon" href="//b"><img srcset="https://c 2x"><script src="x.js">'
    assert Fetches(text).found == [("link", "//b"), ("img", "https://c 2x")]


def test_every_formula_is_drawn(site):
    """What neither the docstrings' rewriting nor the conversion to MathML knows would stand there as it was written."""
    for page in sorted(site.rglob("*.html")):
        text = page.read_text()
        left = re.findall(r"arithmatex|:(?:math|class|data|func|meth|mod):|\.\. math::|<m[ion][^>]*>\\[^<]*", text)
        assert not left, f"{page.relative_to(site)}: {left[:3]}"
    assert "<math" in (site / "reference/ops.html").read_text()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_public_name_is_in_the_reference(name, inventory):
    page = inventory.get(hooks.defined(name))
    assert page and page.startswith("reference/"), f"{name}: list it on a page of docs/reference"


def test_every_name_stands_once():
    """Under one of the names by which it can be imported."""
    listed = [n for page in PAGES for n in re.findall(r"^::: (\S+)", page.read_text(), re.M)]
    sources = [hooks.defined(name) for name in listed]
    assert sorted({s for s in sources if sources.count(s) > 1}) == []


@pytest.mark.parametrize("name,what", [pair for pair in public() if not inspect.ismodule(pair[1])])
def test_names_are_defined_where_the_site_looks(name, what):
    module, _, last = hooks.defined(name).rpartition(".")
    if what is not None:
        assert getattr(importlib.import_module(module), last) is what
    else:  # an adapter, whose library is an extra
        assert (HOUSE / module.replace(".", "/")).with_suffix(".py").exists()


def test_every_command_is_on_its_page():
    page = (DOCS / "reference/cli.md").read_text()
    assert set(re.findall(r"^\| `infotorch ([\w-]+)`", page, re.M)) == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_page_begins_with_what_it_is_for(page):
    """A title, then prose: no table, list, code or history."""
    title, _, rest = page.read_text().partition("\n\n")
    assert re.fullmatch(r"# [^\n]+", title)
    assert re.match(r"[`*\w]", rest) and not rest.startswith(("Written by", "```")), rest[:80]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_page_links_within_the_site(page):
    """Files elsewhere in the repository are named, not linked: no address of it is known here."""
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).resolve().is_relative_to(DOCS), link


@pytest.mark.parametrize(
    "text,wanted",
    [
        (r"Norm, :math:`\|g\|`, of :func:`grads`.", r"Norm, $\|g\|$, of `grads`."),
        ("Of :class:`~infotorch.Task`.", "Of `infotorch.Task`."),
        (".. math:: a = b,\n    \\quad c\n\nNext.", "$$a = b, \\quad c$$\n\nNext."),
        (
            ".. math::\n    a &= b \\\\\n    c &= d\n\nNext.",
            "$$\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}$$\n\nNext.",
        ),
        ("Args:\n    beta: > 0.", "Args:\n    beta: \\> 0."),
        ("Example:\n    >>> 1", "Examples:\n    >>> 1"),
    ],
)
def test_docstrings_become_markdown(text, wanted):
    assert docstrings.markdown(text) == wanted


def test_what_comes_back_keeps_its_first_line_whole():
    text = docstrings.markdown("Rows.\n\nReturns:\n    {name: rows}, in order.", "dict[str, int]")
    assert text == "Rows.\n\nReturns:\n    dict[str, int]: {name: rows}, in order."


def test_formulas_become_mathml():
    drawn = hooks.on_page_content(r'<p><span class="arithmatex">\(a &lt; b\)</span></p>')
    assert drawn.startswith("<p><math") and "<mo>&#x0003C;</mo>" in drawn and "arithmatex" not in drawn
