"""Parquet files: the rows as they were written, whatever the row groups; a damaged file is refused."""

import io
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from infotorch.data.parquet import read_parquet
from infotorch.data.readers import read
from infotorch.errors import DataError
from tests.data.image_files import Image, drawn, file_of
from tests.data.tables import described

TABLE = described(
    pa.table({
        "img": [{"bytes": file_of(picture), "path": "a.png"} for picture in drawn(6, 4, 4, 3)],
        "label": [0, 1, 0, 1, 1, 0],
        "source": list("uvuvuv"),
    }),
    {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["no", "yes"]}},
)  # fmt: skip


@pytest.fixture
def path(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=2)
    return tmp_path / "a.parquet"


def test_rows_are_as_written(path):
    got = read_parquet(path)
    assert torch.equal(got.x, torch.from_numpy(drawn(6, 4, 4, 3)).permute(0, 3, 1, 2) / 255)
    assert got.y.tolist() == [0, 1, 0, 1, 1, 0] and got.label_names == ("no", "yes") and got.ids == tuple("012345")
    assert got.metadata["source"].tolist() == list("uvuvuv")


@pytest.mark.parametrize("size", [1, 4, 6])
def test_row_groups_do_not_matter(path, size, tmp_path):
    pq.write_table(TABLE, tmp_path / "b.parquet", row_group_size=size)
    assert read(tmp_path / "b.parquet").digest() == read(f"parquet:{path}").digest()


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.99])
def test_a_file_that_is_cut_off_is_refused(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match=re.escape(f"read: {path} must be a whole Parquet file; got ")):
        read_parquet(path)


def test_changed_bytes_of_a_page_are_refused(tmp_path):
    pq.write_table(pa.table({"a": np.arange(1000.0), "label": np.zeros(1000, int)}), tmp_path / "a.parquet",
                   compression="none", use_dictionary=False, write_page_checksum=True)  # fmt: skip
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4000] ^= 255
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"must be a whole Parquet file; got .*(CRC|checksum)"):
        read_parquet(tmp_path / "a.parquet")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"read: the file must exist; got .*none\.parquet\. Correct the path\."):
        read_parquet(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="must be a whole Parquet file; got"):
        read_parquet(tmp_path)


def test_a_broken_picture_is_not_taken_for_a_broken_file(path):
    cells = TABLE["img"].to_pylist()
    cells[3] = {"bytes": cells[3]["bytes"][:40], "path": "a.png"}
    pq.write_table(TABLE.set_column(0, "img", pa.array(cells)), path, row_group_size=2)
    with pytest.raises(DataError, match=re.escape(f"read: row 3 of {path} must be a whole picture; got ")):
        read_parquet(path)


def test_cifar_is_as_pillow_decodes_it(data_folder, tmp_path):
    table = pq.ParquetFile(data_folder / "cifar10/test.parquet").read_row_group(0)[:300]
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=128)
    got = read_parquet(tmp_path / "a.parquet")
    truth = np.stack(
        [np.asarray(Image.open(io.BytesIO(cell["bytes"])), np.float64) for cell in table["img"].to_pylist()]
    )
    assert torch.equal(got.x, torch.from_numpy((truth / 255).astype(np.float32)).permute(0, 3, 1, 2))
    assert np.array_equal(got.images, truth) and got.y.tolist() == table["label"].to_pylist()
    assert got.label_names[:3] == ("airplane", "automobile", "bird") and got.y[:6].tolist() == [3, 8, 8, 0, 6, 6]


def test_banking_has_no_tokens(data_folder):
    with pytest.raises(DataError, match=r"beside texts; got 'text', 'label'\. Tokenize it: add input_ids, integers"):
        read_parquet(data_folder / "banking77/test.parquet")


def test_adult_is_a_table_with_categories_as_metadata(data_folder):
    got, table = read(data_folder / "adult/test.parquet"), pq.read_table(data_folder / "adult/test.parquet")
    names = ["age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"]
    assert np.array_equal(got.x.numpy(), np.stack([table[name].to_numpy() for name in names], 1))
    assert int(got.y.sum()) == 3846 and len(got.metadata) == 8 and set(got.metadata["sex"]) == {"Male", "Female"}
