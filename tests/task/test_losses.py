import math

import pytest
import torch
import torch.nn.functional as F

from infotorch.errors import NotSupported
from infotorch.task import LOSSES, Loss, Task
from tests.laws import assert_same
from tests.task.refusal import refused


def double(*shape, rng):
    return torch.randn(shape, dtype=torch.float64, generator=rng)


class TestLosses:
    """Values against torch's, Hessians against autograd's."""

    def targets(self, name, rng):
        if name == "cross_entropy":
            return torch.randint(0, 3, (6,), generator=rng), double(6, 3, rng=rng)
        if name == "mse":
            return double(6, 3, rng=rng), double(6, 3, rng=rng)
        return torch.rand(6, dtype=torch.float64, generator=rng), double(6, 1, rng=rng)

    def test_values_are_torchs_without_reduction(self, rng):
        y, f = self.targets("cross_entropy", rng)
        assert_same(LOSSES["cross_entropy"].value(f, y), F.cross_entropy(f, y, reduction="none"))
        p = double(6, 3, rng=rng).softmax(1)
        assert_same(LOSSES["cross_entropy"].value(f, p), F.cross_entropy(f, p, reduction="none"))
        y, f = self.targets("mse", rng)
        assert_same(LOSSES["mse"].value(f, y), 0.5 * F.mse_loss(f, y, reduction="none").sum(1))
        y, f = self.targets("binary_cross_entropy", rng)
        want = F.binary_cross_entropy_with_logits(f[:, 0], y, reduction="none")
        assert_same(LOSSES["binary_cross_entropy"].value(f, y), want)

    @pytest.mark.parametrize("name", LOSSES)
    def test_hessian_sqrt_times_its_transpose_is_the_hessian(self, name, rng):
        y, f = self.targets(name, rng)
        S = LOSSES[name].hessian_sqrt(f, y)
        for n in range(6):
            H = torch.autograd.functional.hessian(
                lambda row, n=n: LOSSES[name].value(row[None], y[n : n + 1]).sum(), f[n]
            )
            assert_same(S[n] @ S[n].mT, H)

    def test_hessian_sqrt_has_one_root_a_position_and_none_at_an_ignored_label(self, rng):
        f, y = double(2, 4, 3, rng=rng), torch.tensor([[0, -100, 2, 1], [-100, -100, 1, 1]])
        S = LOSSES["cross_entropy"].hessian_sqrt(f, y)
        assert S.shape == (2, 4, 3, 2)
        for n in range(2):
            H = torch.autograd.functional.hessian(
                lambda row, n=n: LOSSES["cross_entropy"].value(row[None], y[n : n + 1]).sum(), f[n]
            )
            assert_same(torch.block_diag(*(S[n] @ S[n].mT)), H.reshape(12, 12))
        assert torch.equal(LOSSES["mse"].hessian_sqrt(f, None), torch.eye(3, dtype=f.dtype).expand(2, 4, 3, 3))

    @pytest.mark.parametrize("name", LOSSES)
    def test_drawn_labels_have_the_models_distribution(self, name, rng):
        """Gradients at drawn labels have mean zero and the Hessian for covariance."""
        f = self.targets(name, rng)[1][:1].expand(20_000, -1).contiguous().requires_grad_()
        y = LOSSES[name].draw(f, torch.Generator().manual_seed(1))
        assert torch.equal(y, LOSSES[name].draw(f, torch.Generator().manual_seed(1)))
        (g,) = torch.autograd.grad(LOSSES[name].value(f, y).sum(), f)
        S = LOSSES[name].hessian_sqrt(f[:1].detach(), None)[0]
        assert g.mean(0).abs().max() < 4 / 20_000**0.5
        torch.testing.assert_close(g.mT @ g / len(g), S @ S.mT, rtol=0, atol=0.05)

    def test_golden(self):
        """Two equal logits are ln 2 nats, whichever loss asks."""
        zero = torch.zeros(1, 2)
        assert LOSSES["cross_entropy"].value(zero, torch.tensor([1])).item() == pytest.approx(math.log(2))
        assert LOSSES["binary_cross_entropy"].value(zero[:, :1], torch.tensor([1])).item() == pytest.approx(math.log(2))
        assert LOSSES["mse"].value(zero, torch.tensor([[3.0, 4.0]])).item() == 12.5

    def test_token_losses_are_summed_and_ignored_labels_left_out(self, rng):
        f, y = double(2, 5, 3, rng=rng), torch.randint(0, 3, (2, 5), generator=rng)
        y[0, 1:] = -100
        want = F.cross_entropy(f.transpose(1, 2), y, reduction="none").sum(1)
        assert_same(LOSSES["cross_entropy"].value(f, y), want)

    def test_hessian_of_a_function_is_not_made_up(self, model):
        task = Task(model, loss=lambda outputs, y: outputs.sum(1))
        message = "task: the loss's output Hessian must be known; got the function <lambda>. Give loss= an object with"
        refused(NotSupported, message, lambda: task.criterion.hessian_sqrt(torch.ones(2, 3), torch.ones(2)))

    def test_an_object_with_both_methods_is_a_loss(self, model):
        class Own:
            def value(self, outputs, y):
                return outputs.sum(1)

            def hessian_sqrt(self, outputs, y):
                return torch.zeros(len(outputs), 3, 1)

        own = Own()
        assert isinstance(own, Loss) and Task(model, loss=own).criterion is own
