"""Samples from columns in Arrow's form, one a row: which column is what."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from infotorch.data.cells import Columns, numbers, texts
from infotorch.data.fields import Lists, Pictures, Table
from infotorch.data.roles import ROLES, TOKENIZE
from infotorch.data.samples import Samples

FEATURES = {"x": "Image", "y": "ClassLabel"}
"""The feature of Hugging Face datasets that tells a field where no column has one of its names."""

ROW_NUMBERS = ("", "index", "__index_level_0__", "Unnamed: 0")
"""What a column of row numbers is called that pandas wrote as well, or read again."""


def samples_of_columns(columns: Columns) -> Samples:
    """The samples in ``columns``, one a row.

    ``x`` is the one column of pictures or of lists that has a usual name (``ROLES``) or is an Image by its features;
    where there is none, all columns of numbers but labels and ids, side by side in their order. ``y`` is the one column
    that has a usual name or is a ClassLabel by its features. Labels that are texts become classes in the order of the
    sorted texts. Columns ``id`` and ``text`` are ids and texts; what is left of texts, dates and, beside pictures and
    lists, numbers is metadata, dates as text.

    Returns:
        The samples, checked: x of pictures float32 [N, C, H, W] from 0 to 1, of a table float32 [N, D], of lists
        [N, ...] in their own dtype. They, and one batch of the columns, are all that is held at once.

    Raises:
        DataError: No rows, no labels, no inputs; two columns for one field; a cell without value, by row and column;
            pictures or lists that differ in shape; or what Samples refuses.
        MissingExtraError: There are pictures, and no Pillow.
    """
    names = columns.schema.names
    if twice := [name for name in names if names.count(name) > 1]:
        raise columns.error(f"columns of {columns.name} must have different names; got {twice[0]!r} twice. Rename one.")
    if not columns.num_rows:
        raise columns.error(f"{columns.name} must have at least one row; got none. Look at how they are selected.")
    fields = {role: _named(columns, role) for role in ROLES}
    label = fields["y"]
    if label is None:
        raise columns.error(
            f"{columns.name} must have a column of labels, called {', '.join(ROLES['y'])}; got {_list(names)}. "
            "Rename the one that has them."
        )
    x = _inputs(columns, fields["x"], [label, fields["ids"]], fields["texts"])
    y = Lists(columns, label) if columns.kind(label) == "list" else None
    kept: dict[str, list[pa.Array]] = {n: [] for n in names if n not in x.names and (n != label or y is None)}
    _check_values(columns, kept, x.names)
    start = 0
    for batch in columns.batches:
        cells = {name: columns.whole(name, batch.column(name), start) for name in names}
        x.put(cells, start)
        if y is not None:
            y.put(cells, start)
        for name, parts in kept.items():
            parts.append(cells[name])
        start += len(batch)
    values = {name: pa.chunked_array(parts) for name, parts in kept.items()}
    labels, label_names = (y.x, None) if y is not None else _labels(columns, label, values.pop(label))
    ids, shown = (None if name is None else texts(values.pop(name)) for name in (fields["ids"], fields["texts"]))
    return Samples(
        x=x.x,
        y=labels,
        ids=tuple(map(str, range(columns.num_rows)) if ids is None else ids),
        label_names=label_names,
        images=x.shown if isinstance(x, Pictures) else None,
        texts=None if shown is None else tuple(shown),
        metadata={
            name: numbers(cells) if columns.kind(name) == "number" else np.array(texts(cells), np.str_)
            for name, cells in values.items()
        },
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _named(columns: Columns, role: str) -> str | None:
    """The one column that stands for a field; a number under a name of x is one of a table's numbers."""
    names = columns.schema.names
    found = [name for name in names if name in ROLES[role] and (role != "x" or columns.kind(name) != "number")]
    if not found and role in FEATURES:
        found = [name for name in names if columns.features.get(name, {}).get("_type") == FEATURES[role]]
    if len(found) > 1:
        raise columns.error(
            f"one column of {columns.name} must stand for {role}; got {_list(found)}. Leave out or rename the others, "
            f"or name the one to take {ROLES[role][1 if role == 'y' else 0]!r}."
        )
    return found[0] if found else None


def _inputs(
    columns: Columns, name: str | None, others: list[str | None], shown: str | None
) -> Table | Lists | Pictures:
    """The field x, empty."""
    if name is not None:
        kind = columns.kind(name)
        if kind in ("picture", "list"):
            return Pictures(columns, name) if kind == "picture" else Lists(columns, name)
        raise columns.error(
            f"column {name!r} of {columns.name} must hold pictures or lists of numbers; got "
            f"{columns.schema.field(name).type}. Put tokens in place of texts and pictures in place of their paths, or "
            "rename it."
        )
    found = [n for n in columns.schema.names if columns.kind(n) == "number" and n not in others]
    if shown is not None or not found:
        raise columns.error(
            f"{columns.name} must have what the model takes, pictures, lists or numbers, beside "
            f"{'texts' if shown is not None else 'labels'}; got {_list(columns.schema.names)}. "
            + (TOKENIZE if shown is not None else "Write texts and categories as numbers.")
        )
    if rows := [n for n in found if n in ROW_NUMBERS]:
        raise columns.error(
            f"columns of {columns.name} must be features; got {rows[0]!r}, as pandas calls row numbers. Write the file "
            "with index=False, or rename this column to 'id' or to what it is."
        )
    return Table(columns, found)


def _check_values(columns: Columns, names: Iterable[str], inputs: list[str]) -> None:
    for name in names:
        if columns.kind(name) not in ("number", "text", "time"):
            raise columns.error(
                f"column {name!r} of {columns.name} must have one number or text a row; got "
                f"{columns.schema.field(name).type}. Leave it out: the model gets {_list(inputs[:3])} alone."
            )


def _labels(columns: Columns, name: str, cells: pa.ChunkedArray) -> tuple[Tensor, tuple[str, ...] | None]:
    """Labels int64 [N] or targets, floating point [N], and the names of the classes where they have some."""
    if columns.kind(name) == "number":
        y, names = torch.tensor(numbers(cells)), columns.features.get(name, {}).get("names")
        return y if y.is_floating_point() else y.long(), None if names is None else tuple(names)
    values = texts(cells)
    if "" in values:
        raise columns.error(
            f"{columns.cell(name, values.index(''))}, must have a label; got an empty text. "
            "Fill this cell in, or leave the row out."
        )
    classes = sorted(set(values))
    place = {text: label for label, text in enumerate(classes)}
    return torch.tensor([place[text] for text in values]), tuple(classes)
