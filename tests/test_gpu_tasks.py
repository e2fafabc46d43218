"""Several tasks' gradients on an accelerator. Where there is none, these tests are skipped."""

import copy

import pytest
import torch
from test_autojac import clear, losses_of
from torch import nn
from torch.testing import assert_close

from cgtutor.aggregation import GradVac, Mean, PCGrad, Sum
from cgtutor.autojac import backward, jac_to_grad, mtl_backward
from cgtutor.grouping import GroupedGradVac, all_layer, all_matrix, whole_model
from cgtutor.streaming import StreamingGradVac

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def model(dtype=torch.float64):
    torch.manual_seed(0)
    layers = [nn.Linear(6, 80), nn.BatchNorm1d(80), nn.ReLU(), nn.Linear(80, 80), nn.Tanh()]
    encoder = nn.Sequential(*layers, nn.Linear(80, 4)).to(dtype)
    heads = nn.ModuleList(nn.Linear(4, 2) for _ in range(3)).to(dtype)
    return encoder, heads, torch.randn(9, 6, dtype=dtype)


def gradients(*modules):
    return [p.grad.cpu() for module in modules for p in module.parameters()]


@pytest.mark.parametrize("kind", [GroupedGradVac, StreamingGradVac])
@pytest.mark.parametrize("partition", [whole_model, all_layer, all_matrix])
def test_same_as_on_the_cpu(kind, partition):
    results = []
    for device in ("cpu", "cuda"):
        encoder, heads, x = (part.to(device) for part in model())
        vaccine = kind(partition(encoder))
        for seed in range(4):
            clear(encoder, heads)
            torch.manual_seed(seed)
            if kind is StreamingGradVac:
                with vaccine.tap(encoder):
                    features = encoder(x)
                weights = vaccine.mtl_backward(losses_of(heads, features), features)
            else:
                features = encoder(x)
                mtl_backward(losses_of(heads, features), features)
                assert all(p.jac.device.type == device for p in encoder.parameters())
                weights = vaccine.jac_to_grad()
            assert weights.device.type == device
            assert all(p.grad.device.type == device for p in encoder.parameters())
        assert vaccine.targets.device.type == "cpu"
        results.append((gradients(encoder, heads), vaccine.targets))
    assert_close(results[0], results[1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("aggregator_class", [Sum, Mean, PCGrad, GradVac])
def test_aggregators(aggregator_class):
    jacobian = torch.randn(5, 10_000)
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        aggregator = aggregator_class().to(device)
        results.append([aggregator(jacobian.to(device)).cpu() for _ in range(3)])
    assert_close(*results, rtol=1e-4, atol=1e-4)


def test_several_devices_in_one_model():
    here, there = nn.Linear(3, 80), nn.Linear(80, 100).cuda()
    features = there(here(torch.randn(5, 3)).cuda())
    backward([features.sum(), features.square().sum(), features.exp().mean()])
    parameters = [*here.parameters(), *there.parameters()]
    jacobians = [copy.copy(p.jac) for p in parameters]
    weights = jac_to_grad(parameters, GradVac())
    for p, jacobian in zip(parameters, jacobians):
        assert p.grad.device == p.device
        expected = torch.tensordot(weights.to(p.device), jacobian, dims=1)
        assert_close(p.grad, expected, rtol=1e-4, atol=1e-4)
