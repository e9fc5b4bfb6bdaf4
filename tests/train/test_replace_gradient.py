"""replace_gradient: the numbers stay, the gradient is another."""

import pytest
import torch

from infotorch.errors import ShapeError
from infotorch.train import replace_gradient
from tests.laws import assert_same_bits


def test_the_gradient_is_the_given_one_whatever_comes_from_above(rng):
    z, other = (torch.randn(4, 3, generator=rng) for _ in range(2))
    z.requires_grad_()
    out = replace_gradient(z, other)
    assert_same_bits(out.detach(), z.detach())
    (grad,) = torch.autograd.grad((1000 * out.sin()).sum(), z)
    assert_same_bits(grad, other)


def test_the_given_gradient_gets_none(rng):
    z, other = (torch.randn(4, 3, generator=rng).requires_grad_() for _ in range(2))
    replace_gradient(z, other).sum().backward()
    assert other.grad is None


def test_compiles_whole(rng):
    z, other = torch.randn(4, 3, generator=rng).requires_grad_(), torch.randn(4, 3, generator=rng)
    compiled = torch.compile(lambda z: replace_gradient(z * 2, other), fullgraph=True, backend="aot_eager")
    (grad,) = torch.autograd.grad(compiled(z).sum(), z)
    assert_same_bits(grad, 2 * other)


@pytest.mark.parametrize("other", [torch.zeros(3, 4), torch.zeros(4, 3, dtype=torch.float64)], ids=str)
def test_another_form_is_refused(other):
    says = r"replace_gradient: grad must be as logits are, float32 \[4, 3\] on cpu; got float"
    with pytest.raises(ShapeError, match=says):
        replace_gradient(torch.zeros(4, 3), other)
