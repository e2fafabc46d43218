"""Pictures with two digits, three questions about each, and a small network that answers them.

In the manner of MultiMNIST (Sabour, Frosst and Hinton, *Dynamic Routing Between Capsules*,
NeurIPS 2017, section 6.1), made from scikit-learn's small digits.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgtutor.course.shared.data import Data, Split, digits

TASKS = ("upper digit", "lower digit", "is the upper one larger?")


SIDE = 12  #: of a picture, in pixels


def scenes(train: int = 1000, validation: int = 400, test: int = 400, seed: int = 0) -> Data:
    """Pictures of 12 by 12 pixels with a digit at the upper left and one at the lower right.

    The two overlap in 4 by 4 pixels, where the darker one is seen. Pictures have the shape
    (n, 144), their answers to the tasks (n, 3). The three parts are made of disjoint digits.

    Args:
        train: number of pictures to fit on.
        validation: number of pictures to choose learning rates on.
        test: number of pictures to report on.
        seed: which digits are paired.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for split, count in zip(digits(), (train, validation, test)):
        upper, lower = torch.randint(len(split.y), (2, count), generator=generator)
        x = split.x.new_zeros(count, SIDE, SIDE)
        x[:, :8, :8] = split.x[upper].view(-1, 8, 8)
        x[:, -8:, -8:] = torch.maximum(x[:, -8:, -8:], split.x[lower].view(-1, 8, 8))
        one, other = split.y[upper], split.y[lower]
        y = torch.stack([one, other, (one > other).long()], dim=1)
        parts.append(Split(x.flatten(1), y))
    return Data(*parts)


class SceneNet(nn.Module):
    """An encoder and a decoder that all tasks share, and a head for each task.

    PReLU is a ReLU whose slope for negative inputs is learned: a layer with a single parameter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(144, 24), nn.PReLU(), nn.Linear(24, 8), nn.PReLU())
        self.decoder = nn.Sequential(nn.Linear(8, 24), nn.PReLU(), nn.Linear(24, 8), nn.PReLU())
        self.heads = nn.ModuleList([nn.Linear(8, classes) for classes in (10, 10, 2)])

    def forward(self, x: Tensor) -> Tensor:
        """The features, shape (n, 8), of pictures of shape (n, 144)."""
        features: Tensor = self.decoder(self.encoder(x))
        return features

    def losses(self, features: Tensor, y: Tensor) -> list[Tensor]:
        """The mean cross-entropy of each task, in nats."""
        return [cross_entropy(head(features), t) for head, t in zip(self.heads, y.T)]

    def shared_names(self) -> list[str]:
        """The names of the shared tensors, in the order of ``parameters()``."""
        return [n for n, _ in self.named_parameters() if not n.startswith("heads.")]


def scene_net(seed: int = 0) -> SceneNet:
    """A network with initial weights from this seed; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SceneNet()
