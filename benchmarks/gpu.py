"""Loops over time on a GPU: one kernel against a scan, and whole training steps against peers.

    python benchmarks/gpu.py [--repeats 30] [--peers]

The yardstick of a loop is the memory that it has to move: forward an input is read and a membrane
written, and spikes; backward a membrane and a gradient are read and a gradient written: 21 bytes an
element with spikes of one byte. A device-to-device copy says how fast memory is. `unroll` is the
scan with 8 steps in one iteration. Spikes are compared with those of the scan, and gradients.

The training steps are those of `benchmarks/spiking.py`, from a dense raster. With `--peers` norse
and spikingjelly, if they are installed, take the same step on the same card: theirs are PyTorch's,
spikingjelly's neurons have no synaptic filter. It needs a GPU.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

sys.path.append(str(Path(__file__).parent))
from spiking import by_hand, populations, step_of

from bss2jax import LIF
from bss2jax.kernels import fused
from bss2jax.kernels.time_loop import SWITCH

BYTES = 21  # an element of a training step's loops
SIZES = ((100, 100, 256), (100, 256, 1024), (100, 1024, 1024), (100, 256, 4096), (16, 1024, 1024))


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """The least time of a call, of several in a row."""
    jax.block_until_ready(call())
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(repeats):
            made = call()
        jax.block_until_ready(made)
        best = min(best, (time.perf_counter() - start) / repeats)
    return best


def bandwidth() -> float:
    """Bytes a second that a large copy moves, those read and those written."""
    x = jnp.zeros((2**29,), jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    return 2 * x.nbytes / seconds(lambda: copy(x), 10)


@contextmanager
def loops(kind: str) -> Iterator[None]:
    """Traces loops over time as one kernel, as a scan, or as an unrolled scan."""
    jax.clear_caches()
    unrolled = partial(lax.scan, unroll=8) if kind == "unroll" else lax.scan
    with (
        mock.patch.dict(os.environ, {SWITCH: "1" if kind == "kernel" else "0"}),
        mock.patch.object(lax, "scan", unrolled),
    ):
        yield


def neurons(x: jax.Array, dz: jax.Array) -> Any:
    """A population's loops, forward and back: spikes, and the gradient of the current."""
    neuron = jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), LIF())
    z, pull = jax.vjp(lambda x: neuron.sequence(neuron, x).spikes, x)
    return z, pull(dz)[0]


def of_loops(speed: float, repeats: int) -> None:
    print(
        f"{'T, B, N':>16s}  floor us  kernel us  of floor   scan us  scan/kernel  unroll us  same"
    )
    for shape in SIZES:
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(0.1, 0.3, shape), jnp.float32)
        dz = jnp.asarray(rng.normal(0, 1, shape), jnp.float32)
        times, made = {}, {}
        for kind in ("kernel", "scan", "unroll"):
            with loops(kind):
                call = jax.jit(neurons).lower(x, dz).compile()
            made[kind] = call(x, dz)
            times[kind] = 1e6 * seconds(partial(call, x, dz), repeats)
        (z, dx), (z_scan, dx_scan) = made["kernel"], made["scan"]
        away = float(jnp.linalg.norm(dx - dx_scan) / jnp.linalg.norm(dx_scan))
        floor, fused = 1e6 * BYTES * x.size / speed, times["kernel"]
        same = f"{bool((z == z_scan).all())}, gradient {away:.0e}, spikes {float(z.mean()):.3f}"
        print(
            f"{shape!s:>16s}  {floor:8.0f}  {fused:9.0f}  {fused / floor:8.2f}  "
            f"{times['scan']:8.0f}  {times['scan'] / fused:11.1f}  "
            f"{times['unroll']:9.0f}  {same}",
            flush=True,
        )


def of_compiling() -> None:
    """Whether a kernel is made of a step is tried once: a second program is made without."""
    x = jnp.zeros(SIZES[0])
    for when in ("first", "again"):
        with loops("kernel"):
            start = time.perf_counter()
            lowered = jax.jit(neurons).lower(x, x)
            traced = time.perf_counter()
            lowered.compile()
        tried = fused._compiles_once.cache_info().misses
        print(
            f"loops of LIF, {when}: traced in {traced - start:.2f} s, {tried} kernels tried so "
            f"far, compiled in {time.perf_counter() - traced:.2f} s"
        )


def of_steps(repeats: int) -> dict[tuple[int, int], float]:
    found = {}
    for batch, hidden in ((100, 256), (256, 1024)):
        rng, optimizer = np.random.default_rng(0), optax.adam(1e-3)
        raster = jnp.asarray(rng.random((100, batch, 784)) < 0.02, jnp.float32)
        labels = jnp.asarray(rng.integers(0, 10, batch))
        params = {
            "hidden": jnp.asarray(rng.normal(0, 0.2, (784, hidden)), jnp.float32),
            "readout": jnp.asarray(rng.normal(0, 0.2, (hidden, 10)), jnp.float32),
        }
        state = optimizer.init(params)
        given = params, state, raster[None], labels[None]
        print(f"784-{hidden}-10, T 100, batch {batch}: a training step, dense input")
        for name, network, kind in (
            ("scan by hand", by_hand, "scan"),
            ("populations, scan", partial(populations, steps=100), "scan"),
            ("populations, unrolled", partial(populations, steps=100), "unroll"),
            ("populations, kernel", partial(populations, steps=100), "kernel"),
        ):
            with loops(kind):
                step = jax.jit(step_of(network, lambda sent: sent, optimizer))
                call = step.lower(*given).compile()
            elapsed = 1e6 * seconds(partial(call, *given), repeats)
            print(f"  {name:24s} {elapsed:9.0f} us", flush=True)
            found[batch, hidden] = elapsed
    return found


def of_peers(repeats: int) -> None:
    """The same step in PyTorch, on the card it has."""
    import torch

    def timed(call: Callable[[], Any]) -> float:
        for _ in range(3):
            call()
        runs = []
        for _ in range(5):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(max(1, repeats // 5)):
                call()
            torch.cuda.synchronize()
            runs.append((time.perf_counter() - start) / max(1, repeats // 5))
        return 1e6 * min(runs)

    def spikingjelly() -> Any:
        from spikingjelly.activation_based import functional, layer, neuron, surrogate

        def make(hidden: int) -> Callable[[Any], Any]:
            net = torch.nn.Sequential(
                layer.Linear(784, hidden, bias=False, step_mode="m"),
                neuron.LIFNode(
                    tau=6.0, v_threshold=1.0, v_reset=0.0, step_mode="m",
                    surrogate_function=surrogate.ATan(), detach_reset=True,
                ),
                layer.Linear(hidden, 10, bias=False, step_mode="m"),
            ).cuda()  # fmt: skip

            def run(x: Any) -> Any:
                functional.reset_net(net)
                return net(x)

            return net, run

        return make

    def norse() -> Any:
        import norse.torch as norse_torch

        def make(hidden: int) -> Any:
            net = norse_torch.SequentialState(
                torch.nn.Linear(784, hidden, bias=False), norse_torch.LIFCell(),
                torch.nn.Linear(hidden, 10, bias=False), norse_torch.LICell(),
            ).cuda()  # fmt: skip

            def run(x: Any) -> Any:
                state, kept = None, []
                for t in range(len(x)):
                    y, state = net(x[t], state)
                    kept.append(y)
                return torch.stack(kept)

            return net, run

        return make

    for name, peer in (("spikingjelly", spikingjelly), ("norse", norse)):
        for batch, hidden in ((100, 256), (256, 1024)):
            try:
                net, run = peer()(hidden)
                x = (torch.rand(100, batch, 784, device="cuda") < 0.02).float()
                labels = torch.randint(0, 10, (batch,), device="cuda")
                optimizer = torch.optim.Adam(net.parameters(), fused=True)

                def step(
                    run: Any = run, x: Any = x, labels: Any = labels, optimizer: Any = optimizer
                ) -> None:
                    loss = torch.nn.functional.cross_entropy(run(x).amax(0), labels)
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    optimizer.step()

                print(
                    f"  {name:24s} 784-{hidden}-10, batch {batch}: {timed(step):9.0f} us",
                    flush=True,
                )
            except Exception as error:
                print(f"  {name}: {type(error).__name__}: {str(error).splitlines()[0][:150]}")
                break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--peers", action="store_true", help="norse and spikingjelly, too")
    parser.add_argument("--loops-only", action="store_true")
    args = parser.parse_args()
    if jax.default_backend() != "gpu":
        raise SystemExit("benchmarks/gpu.py: there is no GPU here")
    speed = statistics.median(bandwidth() for _ in range(3))
    device = jax.devices()[0].device_kind
    print(f"{device}, jax {jax.__version__}, a copy moves {speed / 1e12:.2f} TB/s")
    of_compiling()
    of_loops(speed, args.repeats)
    if args.loops_only:
        return
    of_steps(args.repeats)
    if args.peers:
        of_peers(args.repeats)


if __name__ == "__main__":
    main()
