"""Writes a run's page."""

import base64
import contextlib
import functools
import hashlib
import importlib.resources
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from infotorch import store
from infotorch.errors import ConfigError, StoreError, require
from infotorch.report.joined import is_table, joined, opened
from infotorch.report.page import content
from infotorch.report.view import Run, view

__all__ = ["build", "page_of"]

SCRIPTS = ("numbers.js", "samples.js", "charts.js", "flags.js", "panel.js", "brush.js", "main.js")
STYLES = ("style.css", "parts.css", "print.css")
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def build(
    run: Run | str | pathlib.Path,
    html: str | os.PathLike[str],
    *,
    beside: Sequence[Run | str | pathlib.Path | Mapping[str, Any]] = (),
) -> pathlib.Path:
    """Writes one HTML file that shows ``run`` from disk, without a network; the same run gives the same bytes.

    The page holds its styles, scripts and data; its Content-Security-Policy forbids every request. With more than
    5,000 rows charts are of bins, and only the samples at the ends of the scores are in the page, which says so.

    Args:
        run: A run's folder, or an open run.
        html: The file to write; a file of this name is replaced once the new one is whole.
        beside: Other runs of the same samples and labels, whose scores and chapters are shown too, so that a sample's
            panel has all of its scores; folders of ``infotorch complexity --out``; or notes alone, by name.

    Returns:
        The file.

    Raises:
        MissingExtraError: A library of the extra ``report`` is not installed.
        ConfigError: A score stands in two of the runs, or ``beside`` is no list of runs.
        DataError: Runs beside have no sample in common with the run, or other labels.
        StoreError: There is no run, it is damaged or empty, or the file can't be written.
    """
    for module in ("jinja2", "altair", "vl_convert", "PIL"):
        require("report", module, "report")
    if isinstance(run, str | pathlib.Path) and is_table(run):
        raise StoreError(
            f"report: a page begins with a run of scores; got {run}, a table of supervision complexity. Give the run "
            "first and this folder after it, or open its complexity.html."
        )
    first = store.open(run) if isinstance(run, str | pathlib.Path) else run
    if isinstance(beside, str | pathlib.Path | Mapping) or not isinstance(beside, Sequence):
        raise ConfigError(f"report: beside must be a list of runs; got {type(beside).__name__}. Pass [run].")
    others = [opened(each) if isinstance(each, str | pathlib.Path) else each for each in beside]
    for each in others:
        if not isinstance(each, Mapping) and not hasattr(each, "notes"):
            raise ConfigError(f"report: beside must hold runs; got {type(each).__name__}. Pass folders or open runs.")
    text = render(content(view(joined(first, others))))
    html = pathlib.Path(html)
    part = html.with_name(html.name + ".tmp")
    try:
        html.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(text.encode("utf-8", "replace"))  # half a surrogate pair has no UTF-8
        part.replace(html)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)  # half a page would go on filling a full disk
        raise StoreError(f"report: {html} must be writable; got {error.strerror}. Give another --html.") from error
    return html


def render(page: dict[str, Any]) -> str:
    """The page's HTML from its content."""
    content = {key: value for key, value in page.items() if key != "data"}
    return page_of("template.html.j2", content, page["data"], scripts=SCRIPTS)


def page_of(template: str, content: Mapping[str, Any], data: Any, *, scripts: Sequence[str]) -> str:
    """A page of this room's template, style and scripts; its policy allows nothing else."""
    jinja2 = require("report", "jinja2", "report")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("infotorch.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    style = "\n".join(file_text(name) for name in STYLES)
    script = '(() => {\n"use strict";\n' + "\n".join(file_text(name) for name in scripts) + "\n})();"
    runtime = javascript()
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_digest(style)}; script-src {_digest(runtime)} {_digest(script)}"
    )
    return environment.get_template(template).render(
        **content,
        policy=policy,
        style=style,
        runtime=runtime,
        script=script,
        data=embedded_json(data),
    )


def embedded_json(value: Any) -> str:
    """JSON that can't end the script element in which it stands."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


@functools.cache
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    text: str = require("report", "vl_convert", "report").javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def file_text(name: str) -> str:
    """A file of this room."""
    return importlib.resources.files("infotorch.report").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
