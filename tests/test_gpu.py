"""The optimizers on an accelerator. Where there is none, these tests are skipped."""

import copy

import pytest
import torch
from optimizers import CLASSES, TWINS, gradients, parameters, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
OPTIONS = {"topC": 4, "decay": 0.9, "aggr": "mean", "lr": 0.01}
SHAPES = [(40, 30), (50,), ()]


@pytest.fixture(params=TWINS, ids=lambda c: c.__name__)
def eff(request):
    return request.param


def moved(tensors, device="cuda"):
    return [torch.nn.Parameter(t.detach().to(device)) for t in tensors]


def fed_to(device, fed):
    return [[None if g is None else g.to(device) for g in grads] for grads in fed]


@pytest.mark.parametrize("optimizer_class", CLASSES)
def test_same_as_on_the_cpu(optimizer_class):
    ps = parameters(SHAPES, torch.float64)
    fed = gradients(ps, steps=60, missing=0.1)
    here = optimizer_class(copy.deepcopy(ps), **OPTIONS)
    there = optimizer_class(moved(ps), **OPTIONS)
    expected = run(here, fed)
    got = run(there, fed_to("cuda", fed))
    for one, other in zip(got, expected):
        torch.testing.assert_close([p.cpu() for p in one], other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}, {"capturable": True}])
def test_a_step_never_waits(eff, options):
    """No value is read back, no copy is made to the host."""
    if not options.keys() <= set(eff.__init__.__kwdefaults__):
        pytest.skip("torch's optimizer has no such option")
    ps = moved(parameters(SHAPES))
    optimizer = eff(ps, **OPTIONS, **options)
    fed = fed_to("cuda", gradients(ps, steps=9))
    run(optimizer, fed[:2])
    try:
        for grads in fed[2:]:
            for p, g in zip(ps, grads):
                p.grad = g
            torch.cuda.set_sync_debug_mode("error")
            optimizer.step()
            torch.cuda.set_sync_debug_mode("default")
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_captured_in_a_cuda_graph(eff):
    # SGD has nothing that keeps it from being captured
    options = {"capturable": True} if "capturable" in eff.__init__.__kwdefaults__ else {}
    ps = parameters(SHAPES, torch.float64)
    fed = gradients(ps, steps=30)
    eager = eff(moved(ps), **OPTIONS, **options)
    ours = eff(moved(ps), **OPTIONS, **options)
    mine = ours.param_groups[0]["params"]
    for p in mine:
        p.grad = torch.zeros_like(p)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for grads in fed[:3]:
            for p, g in zip(mine, grads):
                p.grad.copy_(g)
            ours.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ours.step()
    for grads in fed[3:]:
        for p, g in zip(mine, grads):
            p.grad.copy_(g)
        graph.replay()
    expected = run(eager, fed_to("cuda", fed))[-1]
    torch.testing.assert_close([p.detach() for p in mine], expected, rtol=1e-9, atol=1e-9)
    assert ours.memory(mine[0]).ages == eager.memory(eager.param_groups[0]["params"][0]).ages


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiled(eff):
    torch._dynamo.reset()
    ps = parameters(SHAPES, torch.float64)
    fed = gradients(ps, steps=20)
    eager, ours = eff(moved(ps), **OPTIONS), eff(moved(ps), **OPTIONS)
    step = torch.compile(ours.step, fullgraph=True)
    for grads in fed_to("cuda", fed):
        for p, g in zip(ours.param_groups[0]["params"], grads):
            p.grad = g.clone()
        step()
    expected = run(eager, fed_to("cuda", fed))[-1]
    got = [p.detach() for p in ours.param_groups[0]["params"]]
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_one_model_on_two_devices(eff):
    """The priority of a synced group is the sum over both; each memory lives with its parameter."""
    ps = parameters(SHAPES, torch.float64)
    fed = gradients(ps, steps=20)
    other = "cuda:1" if torch.cuda.device_count() > 1 else "cpu"
    split = [*moved(ps[:1], "cuda:0"), *moved(ps[1:], other)]
    ours, theirs = eff(split, **OPTIONS), eff(copy.deepcopy(ps), **OPTIONS)
    got = run(ours, [[g.to(p.device) for p, g in zip(split, grads)] for grads in fed])[-1]
    expected = run(theirs, fed)[-1]
    torch.testing.assert_close([p.cpu() for p in got], expected, rtol=1e-9, atol=1e-9)
    for p in split:
        memory = [v for name, v in ours.state[p].items() if name.startswith("critical")]
        assert {t.device for t in memory if isinstance(t, torch.Tensor)} == {p.device}


@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_state_follows_to_another_device(eff, first, second):
    ps = parameters(SHAPES, torch.float64)
    fed = gradients(ps, steps=30)
    expected = run(eff(copy.deepcopy(ps), **OPTIONS), fed)[-1]
    begun = eff(moved(ps, first), **OPTIONS)
    half_way = run(begun, fed_to(first, fed[:15]))[-1]
    goes_on = eff(moved(half_way, second), **OPTIONS)
    goes_on.load_state_dict(begun.state_dict())
    got = run(goes_on, fed_to(second, fed[15:]))[-1]
    torch.testing.assert_close([p.cpu() for p in got], expected, rtol=1e-9, atol=1e-9)


def test_peak_memory(eff):
    """Rows and their sum, and beside them at most a piece of work and what its parts take."""
    p = torch.nn.Parameter(torch.zeros(2**26, device="cuda"))
    p.grad = torch.randn_like(p)
    optimizer = eff([p], topC=4)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(7):
        optimizer.step()
    base = sum(
        t.nbytes for t in optimizer.state[p].values() if isinstance(t, torch.Tensor) and t.dim()
    )
    used = torch.cuda.max_memory_allocated() - before - base
    assert 5 * p.nbytes <= used < 5.6 * p.nbytes
