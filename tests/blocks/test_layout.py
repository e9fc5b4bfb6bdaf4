import torch

from infotorch.blocks.layout import flattened, layer_of, split, vectors_of

SHAPES = {"w": torch.Size([2, 3]), "s": torch.Size([]), "b": torch.Size([4])}


def test_split_and_flattened_are_inverse():
    for leading in ((), (5,), (5, 2)):
        flat = torch.arange(11.0 * torch.Size(leading).numel()).reshape(*leading, 11)
        parts = split(flat, SHAPES)
        assert {name: tuple(p.shape) for name, p in parts.items()} == {
            name: (*leading, *shape) for name, shape in SHAPES.items()
        }
        assert torch.equal(flattened(parts, SHAPES), flat)


def test_single_vectors_get_an_axis():
    V, single = vectors_of("jvp", "V", torch.arange(11.0), SHAPES)
    assert single and {name: tuple(v.shape) for name, v in V.items()} == {"w": (1, 2, 3), "s": (1,), "b": (1, 4)}
    several, single = vectors_of("jvp", "V", {name: torch.zeros(6, *shape) for name, shape in SHAPES.items()}, SHAPES)
    assert not single and several["b"].shape == (6, 4)


def test_the_layer_of_a_parameter():
    assert (layer_of("a.b.weight"), layer_of("weight")) == ("a.b", "")
