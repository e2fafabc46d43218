"""With kappa=0 every class is its torch counterpart, bit for bit, for every option torch has."""

import itertools

import pytest
import torch
from optimizers import CLASSES, TWINS, assert_equal, gradients, parameters, run, twin

from cgtutor import SGD_C, Adam_C, AdamW_C, RMSprop_C


def grid(**options):
    return [dict(zip(options, values)) for values in itertools.product(*options.values())]


FLAGS = {"maximize": [False, True], "foreach": [False, True]}
ADAM = {"amsgrad": [False, True], "weight_decay": [0, 0.1], "betas": [(0.9, 0.999), (0.5, 0.0)]}
OPTIONS = {
    SGD_C: [
        *grid(momentum=[0, 0.9], dampening=[0, 0.3], weight_decay=[0, 0.1], **FLAGS),
        *grid(momentum=[0.9], nesterov=[True], **FLAGS),
        *grid(momentum=[0, 0.9], weight_decay=[0.1], fused=[True], maximize=[False, True]),
    ],
    RMSprop_C: grid(
        momentum=[0, 0.9], centered=[False, True], weight_decay=[0, 0.1], alpha=[0.9], **FLAGS
    ),
    Adam_C: [*grid(**ADAM, **FLAGS), *grid(**ADAM, fused=[True], maximize=[False, True])],
    AdamW_C: [*grid(**ADAM, **FLAGS), *grid(**ADAM, fused=[True], maximize=[False, True])],
}
OPTIONS |= {eff: OPTIONS[readable] for eff, readable in TWINS.items()}
CASES = [(c, o) for c, options in OPTIONS.items() for o in options]


def short(value):
    if isinstance(value, dict):
        return "-".join(f"{k}={v}" for k, v in value.items())
    return value.__name__


@pytest.mark.parametrize(("ours", "options"), CASES, ids=short)
def test_every_option(ours, options):
    ps = parameters()
    fed = gradients(ps, steps=50, missing=0.1)
    memory = {"kappa": 0, "topC": 4, "decay": 0.9}
    mine = twin(ours, ps, lr=0.01, **options, **memory)
    theirs = twin(CLASSES[ours], ps, lr=0.01, **options)
    assert_equal(run(mine, fed), run(theirs, fed))
    assert all(len(mine.memory(p)) == 4 for p in mine.param_groups[0]["params"])


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.complex64], ids=str
)
@pytest.mark.parametrize("aggr", ["sum", "mid", "mean"])
def test_every_dtype_and_rule(optimizer_class, dtype, aggr):
    ps = parameters(dtype=dtype)
    fed = gradients(ps, steps=50)
    mine = twin(optimizer_class, ps, kappa=0, aggr=aggr, lr=0.01)
    theirs = twin(CLASSES[optimizer_class], ps, lr=0.01)
    assert_equal(run(mine, fed), run(theirs, fed))


def test_defaults_are_torchs(optimizer_class):
    """The same run without options: our defaults for the base are torch's."""
    ps = parameters()
    fed = gradients(ps, steps=50)
    assert_equal(
        run(twin(optimizer_class, ps, kappa=0), fed), run(twin(CLASSES[optimizer_class], ps), fed)
    )


def test_tensor_hyperparameters():
    """A tensor learning rate, as torch takes it for capturable optimizers."""
    ps = parameters()
    fed = gradients(ps, steps=5)
    mine = twin(Adam_C, ps, kappa=0, lr=torch.tensor(0.01))
    assert_equal(run(mine, fed), run(twin(torch.optim.Adam, ps, lr=torch.tensor(0.01)), fed))
