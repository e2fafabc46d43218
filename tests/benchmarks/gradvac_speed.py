"""How long a step with Gradient Vaccine takes, and how much memory: ours against torchjd's.

    python tests/benchmarks/gradvac_speed.py [--models mlp] [--device cuda]

Ours and torchjd's take turns with a plain forward and backward pass of the summed losses, step by
step, in one process, and ratios are those of medians: what else the machine does then falls on
all alike. A step is forward pass, ``mtl_backward`` and aggregation (torchjd: one ``GradVac`` and
one ``jac_to_grad`` for each group); streaming has no aggregation of its own to be timed.

The peak is by how much memory in use grew at most during the third step, in a process of its own,
in units of N, the shared parameters' bytes: the .grad are 1 N, the Jacobian of T tasks T N.
"""

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torchjd.aggregation
import torchjd.autojac
from optimizer_speed import Peak
from torch import Tensor, nn

from cgtutor import autojac, grouping
from cgtutor.grouping import GroupedGradVac
from cgtutor.streaming import StreamingGradVac

GROUPINGS = ["whole_model", "all_layer", "all_matrix"]
#: The models, and how many steps of each are timed.
STEPS = {"mlp": 21, "small": 201, "resnet": 9, "resnet8": 5}


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions make of ``x`` to it."""
        return x + self.inner(x)


def convolution(channels: int, into: int, stride: int = 1) -> nn.Sequential:
    """A convolution, batch normalization and ReLU."""
    layer = nn.Conv2d(channels, into, 3, stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(into), nn.ReLU())


def setting(name: str, device: str) -> tuple[nn.Module, nn.ModuleList, Tensor]:
    """Shared part, heads and a batch; the first layer of an MLP keeps gradients from vanishing."""
    torch.manual_seed(0)
    if name.startswith("resnet"):
        widths = [64, 128, 256, 512]
        stages = [convolution(3, 64), Block(64)]
        for width, wider in itertools.pairwise(widths):
            stages += [convolution(width, wider, 2), Block(wider)]
        encoder = nn.Sequential(*stages, Block(512).inner[0], nn.AdaptiveAvgPool2d(1), nn.Flatten())
        x, tasks, width = torch.randn(16, 3, 32, 32), 8 if name == "resnet8" else 3, 512
    else:
        depth, width, tasks, batch = {"mlp": (20, 256, 8, 64), "small": (3, 20, 2, 16)}[name]
        layers = [nn.Linear(width, width) for _ in range(depth)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        encoder = nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU())))
        x = torch.randn(batch, width)
    heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(tasks))
    return encoder.to(device), heads.to(device), x.to(device)


class Candidate:
    """One way to do a step; calling it does one and returns the seconds (whole, aggregation)."""

    def __init__(self, kind: str, model: str, by: str, device: str) -> None:
        self.encoder, self.heads, self.x = setting(model, device)
        self.kind, self.device = kind, device
        self.groups = getattr(grouping, by)(self.encoder)
        self.theirs = [torchjd.aggregation.GradVac() for _ in self.groups]
        self.grouped = GroupedGradVac(self.groups)
        self.streaming = StreamingGradVac(self.groups)

    def losses(self, features: Tensor) -> list[Tensor]:
        """Of the tasks, one for each head."""
        return [(head(features) - k).square().mean() for k, head in enumerate(self.heads)]

    def now(self) -> float:
        """Seconds, when all that was asked for so far is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def __call__(self) -> tuple[float, float]:
        """Do a step."""
        self.encoder.zero_grad()
        self.heads.zero_grad()
        start = middle = self.now()
        if self.kind == "plain":
            torch.stack(self.losses(self.encoder(self.x))).sum().backward()
        elif self.kind == "streaming":
            with self.streaming.tap(self.encoder):
                features = self.encoder(self.x)
            self.streaming.mtl_backward(self.losses(features), features)
        elif self.kind == "grouped":
            features = self.encoder(self.x)
            autojac.mtl_backward(self.losses(features), features)
            middle = self.now()
            self.grouped.jac_to_grad()
        else:
            features = self.encoder(self.x)
            torchjd.autojac.mtl_backward(self.losses(features), features)
            middle = self.now()
            for group, aggregator in zip(self.groups, self.theirs):
                torchjd.autojac.jac_to_grad(group, aggregator)
        end = self.now()
        return end - start, end - middle


KINDS = ["plain", "torchjd", "grouped", "streaming"]


def times(model: str, by: str, device: str, steps: int) -> dict[str, tuple[float, float]]:
    """Median seconds of a step and of its aggregation, for each kind."""
    candidates = [Candidate(kind, model, by, device) for kind in KINDS]
    taken = [[candidate() for candidate in candidates] for _ in range(steps + 2)][2:]
    return {
        kind: tuple(statistics.median(values) for values in zip(*of_kind))  # type: ignore[misc]
        for kind, of_kind in zip(KINDS, zip(*taken))
    }


def peak(kind: str, model: str, by: str, device: str) -> float:
    """By how much memory grew in a step, in N."""
    candidate = Candidate(kind, model, by, device)
    for _ in range(2):
        candidate()
    candidate.encoder.zero_grad()
    memory = Peak(device)
    memory.reset()
    before = memory()
    candidate()
    return (memory() - before) / sum(p.nbytes for p in candidate.encoder.parameters())


def own_process(function: Callable[..., float], *arguments: str) -> str:
    """The result of a function of this file, in a process that has done nothing else."""
    command = [sys.executable, __file__, "--call", function.__name__, *arguments]
    # glibc returns at once what is freed, so that a peak is what was in use
    setting = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | setting
    )
    return done.stdout.strip()


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=STEPS, default=[*STEPS])
    parser.add_argument("--groupings", nargs="+", choices=GROUPINGS, default=GROUPINGS)
    parser.add_argument("--steps", type=int, help="timed steps; by default it depends on the model")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--call", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.call:
        name, *rest = arguments.call
        print(f"{globals()[name](*rest):.1f}")
        return
    where = platform.machine() if arguments.device == "cpu" else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {where}, {torch.get_num_threads()} threads\n")
    print(
        "| | plain pass | torchjd's aggregation | ours: faster | torchjd's step | grouped: faster "
        "| streaming: faster | peak: torchjd, grouped, streaming |"
    )
    print("| --- |" + " --- |" * 7)
    for model in arguments.models:
        encoder, heads, _ = setting(model, "cpu")
        count = sum(p.numel() for p in encoder.parameters())
        for by in arguments.groupings:
            steps = arguments.steps or STEPS[model]
            t = times(model, by, arguments.device, steps)
            plain, (their_step, theirs) = t["plain"][0], t["torchjd"]
            peaks = [own_process(peak, kind, model, by, arguments.device) for kind in KINDS[1:]]
            groups = len(getattr(grouping, by)(encoder))
            print(
                f"| {model} ({count:,}), T={len(heads)}, {by} ({groups}) | {plain * 1e3:.2f} ms "
                f"| {theirs / plain:.1f} | {theirs / t['grouped'][1]:.1f} "
                f"| {their_step / plain:.1f} | {their_step / t['grouped'][0]:.1f} "
                f"| {their_step / t['streaming'][0]:.1f} | {', '.join(peaks)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
