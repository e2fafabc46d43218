"""The checks of the exercises of the notebook *first steps*."""

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

from torch import nn
from torch.optim import Adam, Optimizer

from cgtutor import Adam_C
from cgtutor.course.shared.check import NotYet, check
from cgtutor.course.shared.data import digits, network
from cgtutor.course.shared.replay import replay
from cgtutor.course.shared.training import train


@check()
def swap_one_word(make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]) -> str:
    """Swap Adam for Adam_C, keep the learning rate, reach a training loss of 0.30."""
    goal, epochs, seed = 0.30, 20, 100
    model = network(seed=seed)
    optimizer = make_optimizer(model.parameters())
    if optimizer is None:
        raise NotYet("make_optimizer returns None; is the word `return` missing?")
    if type(optimizer) is Adam:
        raise NotYet("this is still Adam. Which word has to change?")
    if not isinstance(optimizer, Adam_C):
        raise NotYet(f"this is {type(optimizer).__name__}; the exercise asks for Adam_C.")
    group = optimizer.param_groups[0]
    if not all(p is q for p, q in zip_longest(group["params"], model.parameters())):
        raise NotYet("it optimizes other tensors than the parameters that came in.")
    if group["lr"] != 0.001:
        raise NotYet(f"the learning rate is {group['lr']:g}; leave it at 0.001.")
    if group["kappa"] == 0:
        raise NotYet("kappa=0 takes the memory out, and this is Adam again.")
    loss = train(model, optimizer, digits(), epochs, seed=seed).train_loss[-1]
    if not loss <= goal:
        raise NotYet(
            f"the training loss after {epochs} epochs is {loss:.2f}, the goal "
            f"{goal:.2f}. Other values of topC, decay or aggr may get there."
        )
    return f"Training loss after {epochs} epochs: {loss:.2f} (goal: {goal:.2f})."


@check()
def choosy_memory(norms: Sequence[float], decay: float) -> str:
    """A decay with which a memory of ten rejects a third of the gradients."""
    try:
        memory = replay(norms, 10, decay).memory
    except ValueError as error:
        raise NotYet(str(error)) from error
    found = f"ith decay={decay:g} the memory rejects {memory.rejected} of {len(norms)} gradients"
    if 3 * memory.rejected >= len(norms) > 0:
        return f"W{found}."
    raise NotYet(f"w{found}. Does a choosy memory forget faster or more slowly?")
