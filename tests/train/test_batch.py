"""How batches are split, and what is a label in them."""

import pytest
import torch

from infotorch.train.batch import batch_of, given_classes, is_single, is_soft, labelled, predicted_classes


@pytest.mark.parametrize(("N", "count", "sizes"), [(8, 2, [4, 4]), (7, 3, [2, 2, 3]), (2, 5, [1, 1]), (0, 3, [0])])
def test_parts_hold_every_sample_once(N, count, sizes):
    x = {"a": torch.arange(N), "b": (torch.arange(N) * 2,)}
    parts = batch_of("here", (x, torch.arange(N) * 3, torch.arange(N))).parts(count)
    assert [len(part) for part in parts] == sizes
    assert torch.cat([part.inputs["a"] for part in parts]).tolist() == list(range(N))
    assert torch.cat([part.inputs["b"][0] for part in parts]).tolist() == [2 * n for n in range(N)]
    assert torch.cat([part.labels for part in parts]).tolist() == [3 * n for n in range(N)]
    assert torch.cat([part.ids for part in parts]).tolist() == list(range(N))


def test_forms_of_labels():
    z, y = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([0, -100])
    assert predicted_classes(z, y).tolist() == [1, 0] and given_classes(z, y).tolist() == [0, -100]
    assert labelled(z, y).tolist() == [True, False]
    soft = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    assert is_soft(z, soft) and given_classes(z, soft).tolist() == [0, 1] and labelled(z, soft).all()
    single = torch.tensor([-1.0, 4.0])
    for logits in (single, single[:, None]):
        for y in (torch.tensor([0, 1]), torch.tensor([0.2, 0.7])):
            assert is_single(logits, y) and not is_soft(logits, y)
            assert predicted_classes(logits, y).tolist() == given_classes(logits, y).tolist() == [0, 1]
            assert labelled(logits, y).tolist() == [True, True]
