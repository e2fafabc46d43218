"""Aggregations and trainings recorded from torchjd and LibMTL (tests/data/README.md)."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cgtutor.aggregation import GradVac, GradVacWeighting, PCGrad
from cgtutor.autojac import jac_to_grad, mtl_backward
from cgtutor.grouping import GroupedGradVac, all_layer, all_matrix, enc_dec, whole_model
from cgtutor.streaming import StreamingGradVac

GOLDEN = np.load(Path(__file__).parent / "data" / "golden_public.npz", allow_pickle=False)
CASES = [
    config
    for case in json.loads(bytes(GOLDEN["manifest"]).decode())["cases"]
    if (config := json.loads(bytes(GOLDEN[f"{case}/config"]).decode()))["kind"] != "optim"
]


def of_kind(*kinds):
    cases = [config for config in CASES if config["kind"] in kinds]
    return pytest.mark.parametrize("config", cases, ids=lambda c: c["id"])


def array(config, name):
    return torch.tensor(GOLDEN[f"{config['id']}/{name}"])


def compare(got, want, config, atol, where):
    got, want = got.detach().double(), want.double()
    torch.testing.assert_close(got, want, rtol=config["rtol"], atol=float(atol), msg=where)


def replay(config, aggregator, out="out"):
    """Call after call, each against what was recorded."""
    torch.manual_seed(config["seed"])
    at, out_at = 0, 0
    flat, expected = array(config, "J"), array(config, out)
    rows = zip(config["shapes"], config["dtypes"], config["ops"], array(config, "tol"))
    for call, ((m, n), dtype, op, tol) in enumerate(rows):
        matrix = flat[at : at + m * n].view(m, n).to(getattr(torch, dtype))
        if op == "reset":
            aggregator.reset()
        got = aggregator(matrix)
        assert got.dtype == matrix.dtype
        width = m if config["kind"] == "weighting" else n
        compare(got, expected[out_at : out_at + width], config, tol, f"call {call}")
        at, out_at = at + m * n, out_at + width
    assert at == len(flat)


@of_kind("gradvac", "weighting")
@pytest.mark.parametrize("guard", [True, False])
def test_gradvac(config, guard):
    kind = GradVac if config["kind"] == "gradvac" else GradVacWeighting
    replay(config, kind(config["beta"], config["eps"], guard=guard))


@of_kind("pcgrad")
def test_pcgrad(config):
    replay(config, PCGrad())


@of_kind("libmtl")
def test_libmtl(config):
    """LibMTL's blocks are our groups; two tasks, so the order in which they meet is no matter."""
    dtype = getattr(torch, config["dtype"])
    vaccines = [GradVac(config["beta"], config["eps"]) for _ in config["blocks"]]
    parameters = [nn.Parameter(torch.zeros(b - a, dtype=dtype)) for a, b in config["blocks"]]
    grouped = GroupedGradVac([[p] for p in parameters], config["beta"], config["eps"])
    steps = zip(array(config, "J"), array(config, "out"), array(config, "tol"))
    for step, (jacobian, expected, tol) in enumerate(steps):
        parts = [jacobian[:, a:b].to(dtype) for a, b in config["blocks"]]
        got = torch.cat([vaccine(part) for vaccine, part in zip(vaccines, parts)])
        compare(got, expected, config, tol, f"step {step}")
        for p, part in zip(parameters, parts):
            p.grad, p.jac = None, part
        grouped.jac_to_grad()
        compare(torch.cat([p.grad for p in parameters]), expected, config, tol, f"step {step}")


STRATEGIES = {
    "together": whole_model,
    "per_network": enc_dec,
    "per_layer": all_layer,
    "per_tensor": all_matrix,
}


@of_kind("grouping")
@pytest.mark.parametrize("way", ["loop", "grouped", "streaming"])
def test_training(config, way):
    """The four examples of torchjd's page on grouping, end to end."""
    nets = {"encoder": nn.Sequential(nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU())}
    if config["strategy"] == "per_network":
        nets["encoder"] = nn.Sequential(nn.Linear(10, 5), nn.ReLU())
        nets["decoder"] = nn.Sequential(nn.Linear(5, 3), nn.ReLU())
    shared = list(nets.values())
    heads = [nn.Linear(3, 1) for _ in range(config["tasks"])]
    nets |= {f"head{k + 1}": head for k, head in enumerate(heads)}
    for name, net in nets.items():
        net.load_state_dict({q: array(config, f"in_{name}_{q}") for q in config["modules"][name]})
    optimizer = torch.optim.SGD([p for n in nets.values() for p in n.parameters()], config["lr"])
    groups = STRATEGIES[config["strategy"]](*shared)
    options = {"beta": config["beta"], "eps": config["eps"]}
    vaccines = [GradVac(**options) for _ in groups]
    grouped = (StreamingGradVac if way == "streaming" else GroupedGradVac)(groups, **options)
    targets = [array(config, f"y_{k}") for k in range(config["tasks"])]
    torch.manual_seed(config["seed"])
    for step, x in enumerate(array(config, "x")):
        features = x
        if way == "streaming":
            with grouped.tap(*shared):
                for net in shared:
                    features = net(features)
        else:
            for net in shared:
                features = net(features)
        losses = [nn.functional.mse_loss(h(features), y[step]) for h, y in zip(heads, targets)]
        if way == "streaming":
            grouped.mtl_backward(losses, features=features)
        else:
            mtl_backward(losses, features=features)
        if way == "loop":
            for group, vaccine in zip(groups, vaccines):
                jac_to_grad(group, vaccine)
        elif way == "grouped":
            grouped.jac_to_grad()
        optimizer.step()
        optimizer.zero_grad()
        if step in (0, len(array(config, "x")) - 1):
            for name, net in nets.items():
                for q, value in net.state_dict().items():
                    want = array(config, f"{'first' if step == 0 else 'out'}_{name}_{q}")
                    compare(value, want, config, config["atol"], f"{name}.{q}, step {step}")


def test_cases_are_there():
    """An empty list of cases would pass without a comparison."""
    assert Counter(config["kind"] for config in CASES) == {
        "gradvac": 10,
        "weighting": 4,
        "pcgrad": 2,
        "libmtl": 3,
        "grouping": 4,
    }
