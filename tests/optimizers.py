"""The optimizers under test, and small helpers that their tests share.

A test that takes ``optimizer_class`` runs for every class in ``CLASSES``: a new optimizer is
tested by adding one line here.
"""

import copy

import torch

import cgtutor
from cgtutor import optim_eff

#: Our class -> the torch optimizer it is with kappa=0.
CLASSES = {
    cgtutor.SGD_C: torch.optim.SGD,
    cgtutor.RMSprop_C: torch.optim.RMSprop,
    cgtutor.Adam_C: torch.optim.Adam,
    cgtutor.AdamW_C: torch.optim.AdamW,
    optim_eff.SGD_C_eff: torch.optim.SGD,
    optim_eff.RMSprop_C_eff: torch.optim.RMSprop,
    optim_eff.Adam_C_eff: torch.optim.Adam,
    optim_eff.AdamW_C_eff: torch.optim.AdamW,
}
#: Our GPU-efficient class -> its readable twin.
TWINS = {
    optim_eff.SGD_C_eff: cgtutor.SGD_C,
    optim_eff.RMSprop_C_eff: cgtutor.RMSprop_C,
    optim_eff.Adam_C_eff: cgtutor.Adam_C,
    optim_eff.AdamW_C_eff: cgtutor.AdamW_C,
}
SHAPES = [(3, 4), (5,), ()]


def parameters(shapes=SHAPES, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return [
        torch.nn.Parameter(torch.randn(s, generator=generator, dtype=wide).to(dtype))
        for s in shapes
    ]


def gradients(parameters, steps, seed=1, missing=0.0):
    """For each step a list of gradients; each is None with probability ``missing``."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.complex128 if parameters[0].is_complex() else torch.float64
    fed = []
    for _ in range(steps):
        size = 10 ** torch.randn((), generator=generator, dtype=torch.float64)
        drawn = [
            (size * torch.randn(p.shape, generator=generator, dtype=wide)).to(p.dtype)
            for p in parameters
        ]
        absent = torch.rand(len(drawn), generator=generator) < missing
        fed.append([None if a else g for g, a in zip(drawn, absent)])
    return fed


def run(optimizer, fed):
    """Feed the gradients step by step; return the parameters after each step."""
    tensors = [p for group in optimizer.param_groups for p in group["params"]]
    trajectory = []
    for grads in fed:
        for p, g in zip(tensors, grads):
            p.grad = None if g is None else g.clone()
        optimizer.step()
        trajectory.append([p.detach().clone() for p in tensors])
    return trajectory


def small(optimizer_class, **options):
    """An optimizer of one parameter w = (1, 1)."""
    w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    return w, optimizer_class([w], **options)


def feed(w, optimizer, *grads):
    for g in grads:
        w.grad = torch.as_tensor(g, dtype=w.dtype)
        optimizer.step()


def twin(optimizer_class, parameters, **options):
    """An optimizer of copies of the parameters."""
    return optimizer_class(copy.deepcopy(parameters), **options)


def params_of(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def drift(optimizer):
    """The largest relative error of a running sum."""
    errors = []
    for p in params_of(optimizer):
        memory = optimizer.state[p]
        exact = memory["critical_gradients"].double().sum(0)
        errors.append(((memory["critical_sum"].double() - exact).norm() / exact.norm()).item())
    return max(errors)


def as_version_0_1_0(optimizer):
    """A copy of its state_dict with the memories as the readable optimizers of 0.1.0 saved them."""
    state_dict = copy.deepcopy(optimizer.state_dict())
    for p, state in zip(optimizer.state, state_dict["state"].values()):
        memory = optimizer.memory(p)
        for name in [name for name in state if name.startswith("critical")]:
            del state[name]
        counts = {"seen": memory.seen, "accepted": memory.inserted}
        state["critical"] = {"heap": memory.heap, **counts}
    return state_dict


def assert_equal(one, other):
    """Bit for bit (0.0 is not -0.0), at any depth of lists, tuples and dictionaries."""
    if isinstance(one, torch.Tensor):
        assert (one.dtype, one.device, one.shape) == (other.dtype, other.device, other.shape)
        bits, others = (t.detach().reshape(-1).view(torch.uint8) for t in (one, other))
        assert torch.equal(bits, others), f"{one} is not {other}"
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other):
            assert_equal(a, b)
    else:
        assert one == other
