"""Complex parameters count as pairs of real ones, everywhere."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from cgtutor.aggregation import GradVac, Mean, PCGrad, Sum, gramian
from cgtutor.autojac import backward, jac_to_grad, mtl_backward
from cgtutor.grouping import GroupedGradVac, all_matrix, whole_model
from cgtutor.streaming import StreamingGradVac


class Rotation(nn.Module):
    """A complex layer beside a real one, or the same with its two parts as a real parameter."""

    def __init__(self, real, columns):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(3, columns, dtype=torch.complex64, generator=generator)
        # an odd number of numbers comes first
        self.shift = nn.Parameter(torch.randn(3, generator=generator))
        self.weight = nn.Parameter(torch.view_as_real(weight) if real else weight)

    def forward(self, x):
        weight = self.weight if self.weight.is_complex() else torch.view_as_complex(self.weight)
        y = weight @ x
        return torch.cat([y.real + self.shift, y.imag])


def pair(columns=5):
    return Rotation(False, columns), Rotation(True, columns)


def losses_of(layer, columns=5):
    x = torch.randn(columns, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    features = layer(x / columns)
    return [features.square().sum(), (features - 1).square().sum(), features.prod()], features


def parts(gradient):
    return torch.view_as_real(gradient) if gradient.is_complex() else gradient


@pytest.mark.parametrize("columns", [5, 5000])
@pytest.mark.parametrize("kind", [Sum, Mean, PCGrad, GradVac])
@pytest.mark.parametrize("optimize", [False, True])
def test_jac_to_grad(kind, columns, optimize):
    if optimize and kind in (Sum, Mean):
        return
    results = []
    for layer in pair(columns):
        aggregator = kind()
        for step in range(2):
            torch.manual_seed(step)
            backward(losses_of(layer, columns)[0])
            assert layer.weight.jac.dtype == layer.weight.dtype
            weights = jac_to_grad(
                layer.parameters(), aggregator, optimize_gramian_computation=optimize
            )
            assert weights.dtype == torch.float32
        results.append([weights, *(parts(p.grad) for p in layer.parameters())])
        assert layer.weight.grad.dtype == layer.weight.dtype
    assert_close(*results)


def test_sum_is_the_plain_gradient():
    layer = pair()[0]
    losses, features = losses_of(layer)
    sum(losses).backward(retain_graph=True)
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    mtl_backward(losses, features)
    jac_to_grad(layer.parameters(), Sum())
    assert_close([p.grad for p in layer.parameters()], expected)


@pytest.mark.parametrize("guard", [True, False])
@pytest.mark.parametrize("partition", [whole_model, all_matrix])
def test_grouped_and_streaming(partition, guard):
    results = []
    for layer in pair():
        for kind in (GroupedGradVac, StreamingGradVac):
            vaccine = kind(partition(layer), guard=guard)
            layer.zero_grad()
            for seed in range(3):
                torch.manual_seed(seed)
                if kind is StreamingGradVac:
                    with vaccine.tap(layer):
                        losses, features = losses_of(layer)
                    weights = vaccine.mtl_backward(losses, features)
                else:
                    losses, features = losses_of(layer)
                    mtl_backward(losses, features)
                    weights = vaccine.jac_to_grad()
            assert weights.dtype == torch.float32
            gradients = [parts(p.grad) for p in layer.parameters()]
            results.append([weights, vaccine.targets, *gradients])
    for other in results[1:]:
        assert_close(other, results[0], rtol=1e-4, atol=1e-5)


def test_gramian():
    jacobian = torch.tensor([[1 + 2j, 3 - 1j], [2j, 1.0]])
    real = torch.view_as_real(jacobian).flatten(1).double()
    assert_close(gramian([jacobian]), real @ real.T)
    assert_close(gramian([jacobian.conj()]), real @ real.T)  # conjugated lazily


def test_complex_features():
    """Between real losses and complex parameters anything may be complex."""
    weight = nn.Parameter(torch.tensor([1 + 2j, 3 - 1j]))
    features = weight * 1j
    mtl_backward([features.abs().sum(), features.real.sum(), features.imag.sum()], features)
    assert_close(weight.jac[1], torch.tensor([-1j, -1j]))
    assert_close(weight.jac[2], torch.tensor([1 + 0j, 1 + 0j]))
    with pytest.raises(ValueError, match=r"jac_tensors must be given unless .* real, .*tensors\[0"):
        backward(weight * 2)
    with pytest.raises(ValueError, match=r"grad_tensors must be given .*complex64"):
        mtl_backward([(features * 2).sum()], features, shared_params=[])
    del weight.jac
    backward(weight * 1j, jac_tensors=torch.tensor([[1.0, 0], [1j, 0], [0, 0]]) + 0j)
    assert_close(weight.jac, torch.tensor([[-1j, 0], [1, 0], [0, 0]]))


def test_jacobians_of_the_wrong_kind():
    shift, weight = pair()[0].parameters()
    weight.jac = torch.zeros(2, *weight.shape)
    with pytest.raises(ValueError, match=r"tensors\[0\]\.jac must be a complex tensor, got"):
        jac_to_grad([weight], Sum())
    shift.jac = torch.zeros(2, 3, dtype=torch.complex64)
    with pytest.raises(ValueError, match=r"tensors\[0\]\.jac must be a floating-point tensor"):
        jac_to_grad([shift], Sum())
