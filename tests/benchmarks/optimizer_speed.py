"""How long a step takes: our optimizers as multiples of torch's.

    python tests/benchmarks/optimizer_speed.py [--sizes mlp encoder] [--families Adam]

Each candidate takes turns with torch's fastest, step by step, in one process, and its ratio is
one of medians: what else the machine does then falls on both alike. Two regimes: with decay 0.7
every gradient is inserted (the old priorities have decayed), with decay 1 none does (a
newcomer loses a tie). "State" is what lies in the optimizer's state, "peak" by how much memory
in use grew at most (on a CPU too little where freed memory is used again), both in words (4
bytes) for each parameter.

The floor counts the words that have to be moved for each parameter, read or written, over those
that torch's update moves. Adam alone: the gradient, the parameter and two averages twice, 7.
To choose, the norm has to be known: the gradient once more, 8. The aggregate needs the sum, 9.
An insertion reads the row that goes, writes it, and writes the sum: 12.
"""

import argparse
import gc
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import cgtutor
from cgtutor import optim_eff

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

#: Number of timed steps, and what the sizes are.
SIZES = {"mlp": 301, "encoder": 61, "square": 31, "large": 11, "giant": 11}


def shapes(size: str) -> list[tuple[int, ...]]:
    """The parameter shapes of the models that the table's columns name."""
    if size == "mlp":
        return [(64, 100), (64,), (64, 64), (64,), (20, 64), (20,)]
    if size == "encoder":
        block = nn.TransformerEncoderLayer(256, 8, 1024)
        return [tuple(p.shape) for p in block.parameters()] * 4
    if size == "square":
        return [(1024, 1024)] * 10
    if size == "large":
        return [(5_000_000,)] * 10
    return [(100_000_000,)] * 10  # giant


#: For each family torch's update, the words it moves, and options that both sides get.
FAMILIES: dict[str, tuple[type[torch.optim.Optimizer], int, dict[str, float]]] = {
    "Adam": (torch.optim.Adam, 7, {}),
    "AdamW": (torch.optim.AdamW, 7, {}),
    "SGD": (torch.optim.SGD, 3, {"lr": 1e-3}),
    "RMSprop": (torch.optim.RMSprop, 5, {}),
}


def candidates(family: str, compiled: bool) -> Iterator[tuple[str, Make, bool]]:
    """Name, maker, and whether to compile; the first is what the others are compared with."""
    base, _, options = FAMILIES[family]
    kernels = ["foreach"] if family == "RMSprop" else ["fused", "foreach"]
    for kernel in kernels:
        name = f"torch.optim.{family}({kernel}=True)"
        yield name, lambda p, k=kernel: base(p, **options, **{k: True}), False
    readable = getattr(cgtutor, f"{family}_C")
    eff = getattr(optim_eff, f"{family}_C_eff")
    fast = {kernels[0]: True}
    for regime, decay in (("inserting", 0.7), ("not inserting", 1.0)):
        yield (
            f"{family}_C, {regime}",
            lambda p, d=decay: readable(p, **options, **fast, decay=d),
            False,
        )
        yield f"{family}_C_eff, {regime}", lambda p, d=decay: eff(p, **options, decay=d), False
        if compiled:
            yield (
                f"{family}_C_eff, compiled, {regime}",
                lambda p, d=decay: eff(p, **options, decay=d),
                True,
            )


def tensors(value: object) -> list[Tensor]:
    """All tensors in an optimizer's state."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for item in value for t in tensors(item)] if isinstance(value, (list, tuple)) else []


class Peak:
    """The memory in use now, and at most since the last :meth:`reset`, in bytes."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"

    def reset(self) -> None:
        """Begin anew, from what is in use now."""
        gc.collect()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM = VmRSS

    def __call__(self) -> int:
        """The most so far."""
        if self.cuda:
            return torch.cuda.max_memory_allocated()
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024


def built(make: Make, size: str, device: str) -> torch.optim.Optimizer:
    """An optimizer that has all its state, of parameters with gradients."""
    parameters = [nn.Parameter(torch.randn(shape, device=device)) for shape in shapes(size)]
    for p in parameters:
        p.grad = torch.randn_like(p)
    return make(parameters)


def timed(step: Callable[[], object], device: str) -> float:
    """Seconds that one step takes."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


def measure(
    family: str, name: str, make: Make, compile_it: bool, size: str, repeats: int, device: str
) -> tuple[float, float, float, float]:
    """Ratio to the family's first, seconds of that one, state and peak (words a parameter)."""
    _, reference, _ = next(candidates(family, False))
    words = 4 * sum(torch.Size(shape).numel() for shape in shapes(size))
    base = built(reference, size, device)
    base.step()
    optimizer = built(make, size, device)
    step: Callable[[], object] = optimizer.step
    if compile_it:
        torch._dynamo.reset()
        step = torch.compile(optimizer.step, fullgraph=True)
    peak = Peak(device)
    peak.reset()
    before = peak()
    for _ in range(22):  # fills the memory
        step()
    most = peak() - before
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        times[0].append(timed(base.step, device))
        times[1].append(timed(step, device))
    state = sum(t.nbytes for s in optimizer.state.values() for t in tensors(s))
    first, ours = map(statistics.median, times)
    return ours / first, first, state / words, most / words


def main() -> None:
    """Measure and print one Markdown table for each family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[*SIZES][:4])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=[*FAMILIES])
    parser.add_argument(
        "--repeats", type=int, help="timed steps; by default it depends on the size"
    )
    parser.add_argument("--no-compile", action="store_true", help="leave out compiled steps")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    where = platform.machine() if arguments.device == "cpu" else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {where}, {torch.get_num_threads()} threads\n")
    counts = {s: sum(torch.Size(shape).numel() for shape in shapes(s)) for s in arguments.sizes}
    for family in arguments.families:
        rows = list(candidates(family, not arguments.no_compile))
        first, moved = rows[0][0], FAMILIES[family][1]
        print(f"| times {first} |", *(f"{counts[s]:,} |" for s in counts), "state | peak |")
        print("| --- |" + " --- |" * (len(counts) + 2))
        seconds: dict[str, float] = {}
        for name, make, compile_it in rows[1:]:
            cells = []
            for size in arguments.sizes:
                repeats = arguments.repeats or SIZES[size]
                ratio, seconds[size], state, most = measure(
                    family, name, make, compile_it, size, repeats, arguments.device
                )
                cells.append(f"{ratio:.2f} |")
            print(f"| {name} |", *cells, f"{state:.1f} | {most:.1f} |", flush=True)
        # torch's foreach RMSprop moves several times the words of a fused one: no measure
        regimes = [] if family == "RMSprop" else [("inserting", 5), ("not inserting", 2)]
        for regime, extra in regimes:
            floor = f"{(moved + extra) / moved:.2f} |"
            print(
                f"| floor, {regime}: {moved + extra} words for {moved} |",
                floor * len(counts),
                "| |",
            )
        print(
            f"| (one step of {first}) |", *(f"{seconds[s] * 1e3:.2f} ms |" for s in counts), "| |\n"
        )


if __name__ == "__main__":
    main()
