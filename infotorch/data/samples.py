"""The samples of a data set, checked once, in one fixed order."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from infotorch import errors
from infotorch.data.streams import StreamedInputs, inputs_digest

RESERVED = ("index", "id", "label", "label_name", "image", "height", "width", "channels", "text")
"""Names that a sample's own columns have in a run; metadata takes others."""

_CHUNK = 1 << 24  # elements looked at together, so that checks and digests need little memory beside the data


def shown(text: str, length: int = 60) -> str:
    """``text`` quoted for an error message: control characters escaped, the middle left out where it is long."""
    quoted = ascii(text)
    return quoted if len(quoted) <= length else f"{quoted[: length // 2]}...{quoted[-length // 4 :]}"


def chunks(num_rows: int, row_size: int) -> Iterable[slice]:
    """Slices of rows, each of about 2^24 elements and at least one row."""
    step = max(1, _CHUNK // max(1, row_size))
    return (slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step))


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Inputs, labels and names of N samples.

    Raises:
        DataError: No sample; lengths that disagree; an input, a label that is not finite (the text names the first
            sample); ids that repeat or are no Unicode text; labels without a name; images, texts or metadata of
            another form.
    """

    x: Tensor | StreamedInputs
    """Inputs of the model, [N, ...]; read when they are asked for where :func:`infotorch.data.streamed` made them."""
    y: Tensor
    """Labels, int64 [N], or targets, float [N] or [N, C]."""
    ids: tuple[str, ...]
    """A name for each sample, all different; any Unicode text."""
    label_names: tuple[str, ...] | None = None
    """Names of the labels 0, 1, ...; ``None`` where labels are shown as numbers."""
    images: np.ndarray | None = None
    """Pictures to show, uint8 [N, H, W] or [N, H, W, 3]."""
    texts: tuple[str, ...] | None = None
    """Texts to show."""
    metadata: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Anything else known of each sample (source, subgroup), [N] each: bool, integer, float or text."""

    def __post_init__(self) -> None:
        for name, value in (("x", self.x), ("y", self.y)):
            if isinstance(value, StreamedInputs):
                continue
            if not isinstance(value, Tensor) or value.ndim == 0:
                got = "a tensor without axes" if isinstance(value, Tensor) else type(value).__name__
                raise errors.DataError(
                    f"data: {name} must be a tensor with one row a sample; got {got}. Convert it with torch.as_tensor."
                )
            if value.dtype.is_complex:
                raise errors.DataError(f"data: {name} must be real; got {value.dtype}. Pass its two parts.")
        for name in ("ids", "label_names", "texts"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(value))
                self._check_texts(name)
        object.__setattr__(self, "metadata", {key: _metadata(key, value) for key, value in self.metadata.items()})
        self._check_lengths()
        self._check_ids()
        if isinstance(self.x, Tensor):
            _check_finite("x", self.x, self.ids)
        _check_finite("y", self.y, self.ids)
        self._check_labels()
        images = self.images
        if images is not None and (
            images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3)
        ):
            raise errors.DataError(
                f"data: images must be uint8 [N, H, W] or [N, H, W, 3]; got {images.dtype} {list(images.shape)}. "
                "Scale them to 0..255 and put the channels last."
            )

    def __len__(self) -> int:
        """N."""
        return len(self.x)

    def all_inputs(self, where: str) -> Tensor:
        """``x`` for what takes all samples at once.

        Raises:
            DataError: The inputs are streamed.
        """
        if isinstance(self.x, Tensor):
            return self.x
        raise errors.DataError(
            f"{where}: all inputs must be in memory, for it looks at them together; got streamed ones. "
            "Give the data as they are, not through streamed(); or, for unique information, form='primal' and out."
        )

    def _check_texts(self, name: str) -> None:
        for place, text in enumerate(getattr(self, name)):
            if not isinstance(text, str):
                raise errors.DataError(
                    f"data: {name} must be text; got {type(text).__name__} at place {place}. Convert them with str."
                )
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise errors.DataError(
                    f"data: {name} must be Unicode text; got {shown(text)} at place {place}, with a lone surrogate. "
                    "Decode it with errors='replace'."
                ) from error

    def _check_lengths(self) -> None:
        N = len(self.x)
        if N == 0:
            raise errors.DataError("data: there must be at least one sample; got none. Look at how they are selected.")
        parts = {"y": self.y, "ids": self.ids, "images": self.images, "texts": self.texts, **self.metadata}
        for name, part in parts.items():
            if part is not None and len(part) != N:
                raise errors.DataError(
                    f"data: {name} must have one entry a sample, as x has {N}; got {len(part)}. Leave none out."
                )

    def _check_ids(self) -> None:
        if len(set(self.ids)) == len(self.ids):
            return
        first: dict[str, int] = {}
        for place, name in enumerate(self.ids):
            if name in first:
                raise errors.DataError(
                    f"data: ids must all differ; got {shown(name)} for samples {first[name]} and {place}. "
                    "Number them: 0, 1, ..."
                )
            first[name] = place

    def _check_labels(self) -> None:
        if self.label_names is None or self.y.ndim != 1 or self.y.is_floating_point():
            return
        outside = (self.y < 0) | (self.y >= len(self.label_names))
        if outside.any():
            first = int(outside.int().argmax())
            raise errors.DataError(
                f"data: label_names must name every label, 0 to {len(self.label_names) - 1}; got label "
                f"{int(self.y[first])} for sample {first} ({shown(self.ids[first])}). Correct it, or add its name."
            )

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of every field, names, dtypes and shapes included."""
        sha = hashlib.sha256()

        def frame(name: str, size: int) -> None:
            sha.update(f"{len(name.encode())}:{name}:{size}:".encode())

        def texts(name: str, values: tuple[str, ...] | None) -> None:
            if values is not None:
                frame(name, len(values))
                for value in values:
                    data = value.encode()
                    sha.update(f"{len(data)}:".encode() + data)

        def tensor(name: str, value: Tensor | StreamedInputs) -> None:
            frame(f"{name} {value.dtype} {list(value.shape)}", len(value))
            sha.update(inputs_digest(value).encode())

        texts("ids", self.ids)
        texts("label_names", self.label_names)
        texts("texts", self.texts)
        tensor("x", self.x)
        tensor("y", self.y)
        if self.images is not None:
            frame(f"images {list(self.images.shape)}", len(self))
            sha.update(np.ascontiguousarray(self.images).data)
        for name, values in self.metadata.items():
            if values.dtype.kind == "U":
                texts(f"metadata {name}", tuple(values.tolist()))
            else:
                frame(f"metadata {name} {values.dtype}", len(values))
                sha.update(np.ascontiguousarray(values).tobytes())
        return sha.hexdigest()


def check_same_classes(where: str, samples: Samples, tests: Samples) -> None:
    """Refuses test samples whose classes have other names, for a label would mean another class there."""
    names, others = samples.label_names, tests.label_names
    if names is None or others is None or names == others:
        return
    differ = [place for place, pair in enumerate(zip(names, others, strict=False)) if pair[0] != pair[1]]
    place = differ[0] if differ else min(len(names), len(others))
    want, got = (ascii(all[place]) if place < len(all) else "none" for all in (names, others))
    raise errors.DataError(
        f"{where}: test data must have the data's classes, {want} as label {place}; got {got}. "
        "Name the same classes in both, in one order."
    )


def _check_finite(name: str, value: Tensor, ids: tuple[str, ...]) -> None:
    if not value.is_floating_point():
        return
    for rows in chunks(len(value), value[0].numel()):
        bad = ~value[rows].isfinite().flatten(1).all(dim=1) if value.ndim > 1 else ~value[rows].isfinite()
        if bad.any():
            place = rows.start + int(bad.int().argmax())
            row = value[place].flatten()
            raise errors.DataError(
                f"data: {name} must be finite; got {row[~row.isfinite()][0].item()} in sample {place} "
                f"({shown(ids[place])}). Correct this sample, or leave it out."
            )


def _metadata(name: str, values: np.ndarray) -> np.ndarray:
    """One metadata column as a NumPy array of bool, int64, float64 or text."""
    if name in RESERVED or not name:
        raise errors.DataError(
            f"data: metadata must not be called {', '.join(RESERVED)}; got {name!r}. Rename this column."
        )
    values = np.asarray(values)
    if values.ndim != 1:
        raise errors.DataError(
            f"data: metadata must be [N]; got {list(values.shape)} for {shown(name)}. Pass one value a sample."
        )
    if values.dtype == object and all(isinstance(value, str) for value in values):
        values = values.astype(np.str_)
    kinds = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64, "U": np.str_}
    if values.dtype.kind not in kinds or (values.dtype == np.uint64 and (values > np.iinfo(np.int64).max).any()):
        raise errors.DataError(
            f"data: metadata must be bool, 64-bit integer, float or text; got {values.dtype} for {shown(name)}. "
            "Convert it, or leave it out."
        )
    return values if values.dtype.kind == "U" else values.astype(kinds[values.dtype.kind], copy=False)
