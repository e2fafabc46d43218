"""Trajectories recorded from the original implementation (tests/data/README.md)."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import cgtutor
from cgtutor import optim_eff

GOLDEN = np.load(Path(__file__).parent / "data" / "golden_public.npz", allow_pickle=False)
CASES = [
    config
    for case in json.loads(bytes(GOLDEN["manifest"]).decode())["cases"]
    if (config := json.loads(bytes(GOLDEN[f"{case}/config"]).decode()))["kind"] == "optim"
]


@pytest.mark.parametrize("config", CASES, ids=lambda c: c["id"])
@pytest.mark.parametrize("twin", ["", "_eff"])
def test_trajectory(config, twin):
    """Every case binds the readable class and, with the same hyperparameters, the _eff class."""
    torch.set_num_threads(1)
    case, n = config["id"], len(config["atol"])
    dtype = getattr(torch, config["dtype"])
    ps = [torch.nn.Parameter(torch.tensor(GOLDEN[f"{case}/init_{i}"]).to(dtype)) for i in range(n)]
    name = config["cls"].removesuffix("_eff") + twin
    optimizer_class = getattr(optim_eff if twin else cgtutor, name)
    recorded = getattr(optim_eff if config["cls"].endswith("_eff") else cgtutor, config["cls"])
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(recorded).parameters.items()
        if name in ("decay", "topC", "aggr")
    }
    groups = [{"params": [ps[i] for i in g["params"]], **g["over"]} for g in config["groups"]]
    optimizer = optimizer_class(groups, **(options | config["kwargs"]))
    base = [group["lr"] for group in optimizer.param_groups]
    expected = "alt_truemin" if config["quirk"] else "traj"

    for t in range(config["steps"]):
        for i, p in enumerate(ps):
            present = GOLDEN[f"{case}/mask"][t, i]
            p.grad = torch.tensor(GOLDEN[f"{case}/grad_{i}"][t]).to(dtype) if present else None
        if "lr_factor" in config:
            for group, lr in zip(optimizer.param_groups, base):
                group["lr"] = lr * config["lr_factor"][t]
        optimizer.step()
        for i, p in enumerate(ps):
            want = torch.tensor(GOLDEN[f"{case}/{expected}_{i}"][t]).to(dtype)
            torch.testing.assert_close(
                p.detach(), want, rtol=config["rtol"], atol=config["atol"][i], msg=f"step {t}"
            )


def test_cases_are_there():
    """An empty list of cases would pass without a comparison."""
    assert len(CASES) == 15
    assert all(config["steps"] >= 60 for config in CASES)
