"""One field of all samples, in one array that is filled batch by batch: a table, lists or pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from infotorch.data.cells import Columns, kind_of, numbers
from infotorch.data.images import Images


class Table:
    """Columns of numbers side by side.

    Args:
        columns: Where they are.
        names: Those to take, D of them.
    """

    def __init__(self, columns: Columns, names: list[str]) -> None:
        self._columns, self.names = columns, names
        self._x = np.empty((columns.num_rows, len(names)), np.float32)

    @property
    def x(self) -> Tensor:
        """Float32 [N, D]."""
        return torch.from_numpy(self._x)

    def put(self, cells: Mapping[str, pa.Array], start: int) -> None:
        """Fills the rows from ``start`` on.

        Raises:
            DataError: A number that is not finite in float32.
        """
        for place, name in enumerate(self.names):
            values = numbers(cells[name])
            part = self._x[start : start + len(values), place]
            with np.errstate(over="ignore"):
                part[:] = values
            bad = ~np.isfinite(part)
            if bad.any():
                row = int(bad.argmax())
                raise self._columns.error(
                    f"{self._columns.cell(name, start + row)}, must be a finite float32 number; got {values[row]}. "
                    "Correct this cell, or leave the row out."
                )


class Lists:
    """A column of lists of numbers, all of one shape.

    Args:
        columns: Where it is.
        name: Its name.
    """

    def __init__(self, columns: Columns, name: str) -> None:
        self._columns, self.names = columns, [name]
        self._x: np.ndarray | None = None

    @property
    def x(self) -> Tensor:
        """[N, ...], in the dtype of the numbers."""
        return torch.as_tensor(self._x)

    def put(self, cells: Mapping[str, pa.Array], start: int) -> None:
        """Fills the rows from ``start`` on.

        Raises:
            DataError: Lists that differ in shape, are empty, have gaps or hold no numbers.
        """
        (name,) = self.names
        values, shape = cells[name], [len(cells[name])]
        while kind_of(values.type) == "list":
            values = self._level(values, shape, start)
        if kind_of(values.type) != "number":
            raise self._columns.error(
                f"column {name!r} of {self._columns.name} must hold lists of numbers; got lists of {values.type}. "
                "Convert it, or leave it out."
            )
        rows = numbers(values).reshape(shape)
        if self._x is None:
            self._x = np.empty((self._columns.num_rows, *shape[1:]), rows.dtype)
        if rows.shape[1:] != self._x.shape[1:]:
            raise self._unlike(list(self._x.shape[1:]), shape[1:], start)
        self._x[start : start + len(rows)] = rows

    def _level(self, lists: Any, shape: list[int], start: int) -> pa.Array:
        """The elements of all lists; their number in each goes to the end of ``shape``."""
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        lists_a_row = int(np.prod(shape[1:]))
        differs = (lengths != lengths[0]) | (lengths == 0)
        if differs.any():
            place = int(differs.argmax())
            want = [*shape[1:], int(lengths[0]) or 1]
            raise self._unlike(want, [*shape[1:], int(lengths[place])], start + place // lists_a_row)
        elements = lists.flatten()
        shape.append(int(lengths[0]))
        if elements.null_count:
            row = int(np.asarray(elements.is_null()).argmax()) // int(np.prod(shape[1:]))
            raise self._columns.error(
                f"{self._columns.cell(self.names[0], start + row)}, must have no gaps; got a null in its list. "
                "Fill it in, or leave the row out."
            )
        return elements

    def _unlike(self, want: list[int], got: list[int], row: int) -> Exception:
        return self._columns.error(
            f"{self._columns.cell(self.names[0], row)}, must have the shape {want}, as all rows; got {got}. "
            "Pad or crop the lists."
        )


class Pictures:
    """A column of image files, as bytes or as Hugging Face's struct of bytes and path.

    Args:
        columns: Where it is.
        name: Its name.

    Raises:
        MissingExtraError: There is no Pillow.
    """

    def __init__(self, columns: Columns, name: str) -> None:
        self._columns, self.names = columns, [name]
        self._mode = columns.features.get(name, {}).get("mode")
        self._images = Images(columns.where, columns.num_rows)

    @property
    def x(self) -> Tensor:
        """Float32 [N, C, H, W], from 0 to 1."""
        return self._images.x

    @property
    def shown(self) -> np.ndarray:
        """Pictures to show, uint8 [N, h, w] or [N, h, w, 3]."""
        return self._images.shown

    def put(self, cells: Mapping[str, pa.Array], start: int) -> None:
        """Fills the rows from ``start`` on.

        Raises:
            DataError: A cell without picture, or what ``Images.put`` refuses.
        """
        (name,) = self.names
        for row, held in enumerate(cells[name].to_pylist(), start):
            data = self._bytes(held if isinstance(held, dict) else {"bytes": held}, row)
            self._images.put(row, data, f"row {row} of {self._columns.name}", self._mode)

    def _bytes(self, held: dict[str, Any], row: int) -> bytes:
        path = held.get("path")
        if held["bytes"] is not None:
            return held["bytes"]
        try:
            return Path(path or "").read_bytes()  # a Dataset that was made of files has their paths alone
        except OSError as error:
            raise self._columns.error(
                f"{self._columns.cell(self.names[0], row)}, must hold a picture's bytes or the path of a file that can "
                f"be read; got the path {path!r}. Write the pictures into it, as datasets' to_parquet does."
            ) from error
