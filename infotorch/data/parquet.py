"""The reader of Parquet files: pictures, lists of numbers such as tokens, or a table of numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from infotorch import errors
from infotorch.data.cells import Columns
from infotorch.data.columns import samples_of_columns
from infotorch.data.samples import Samples, shown

BATCH = 1024


def read_parquet(path: Path) -> Samples:
    """The samples in a Parquet file, one a row.

    The file is read row group by row group, so that little is held beside the samples.

    Args:
        path: A file with columns as ``infotorch.data.columns.samples_of_columns`` takes them. Where Hugging Face
            datasets wrote its features into the schema, they say which column is of pictures and which of labels, and
            give the classes their names.

    Returns:
        The samples, checked.

    Raises:
        DataError: No such file, a damaged one, or what ``samples_of_columns`` refuses.
        MissingExtraError: There are pictures, and no Pillow.
    """
    with _reading(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    with file:
        return samples_of_columns(
            Columns(
                where="read",
                name=str(path),
                schema=file.schema_arrow,
                num_rows=file.metadata.num_rows,
                batches=_batches(file, path),
            )
        )


def _batches(file: pq.ParquetFile, path: Path) -> Iterator[pa.RecordBatch]:
    with _reading(path):
        for group in range(file.num_row_groups):
            yield from file.iter_batches(batch_size=BATCH, row_groups=[group])


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise errors.DataError(f"read: the file must exist; got {path}. Correct the path.") from error
    except (pa.ArrowException, OSError) as error:
        raise errors.DataError(
            f"read: {path} must be a whole Parquet file; got {shown(str(error), 200)}. Save or download it again."
        ) from error
