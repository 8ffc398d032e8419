"""An update period of the network of 512 neurons against Brian2; and eight chips side by side.

    python benchmarks/plasticity.py             # ours, and Brian2 where it is installed
    BRIAN2=path/to/python python benchmarks/plasticity.py   # Brian2 of another environment

The network of `configs/plastic/bistability.toml` with weights of 8 at a step of 50 us of the model,
for one period: 2 s of the model, then the update. `with sensors` has a causal and an acausal sensor
in each of its synapses besides, which additive STDP reads at the end. Brian2 has the same neurons,
synapses, pulses and update, one by one: the chip's, from a file that ours writes. First both get
the same input, and `same` is how long, in ms of the model, they have the same spikes in each ms.
Times are the least of three periods with random input, compile time apart: seconds of the
processor, of all threads, as machines are shared, and of the clock.

2026-11-26, two cores that other work shared (a load of 10), jax 0.10.1, Brian2 2.9.0, in one run;
seconds of the processor a period, over ours in brackets:

                            without sensors    with sensors
    bss2jax                  0.15               0.23
    8 chips, each            0.13 (0.86)        0.22 (0.96)
    Brian2, numpy            4.64 (31)          5.92 (26)
    Brian2, Cython           1.60 (11)          3.28 (14)
    Brian2, C++              0.15 (1.0)         0.18 (0.8)
    Brian2, C++, 2 threads   2.90 (19)          7.27 (32)

Spikes were the same for all of the second. So ten times holds for the modes that run from Python,
one of which is the authors', and for C++ with two threads, which wait for each other; not for C++
with one, which takes as long as ours. In a quiet minute ours took 0.11 s: 0.04 of it for neurons,
0.05 for spikes that are added up, 0.02 for random input.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEP, DELAY, STEPS = 50e-6, 20, 40_000  # s of the model; steps of a delay, and of a period
CHECKED = 1.0  # s of the model that are compared
AMPLITUDE, TAU, RATE = 0.5, 5e-3, 0.01  # of the sensors, and of STDP
PARTS = {"numpy": 16, "cython": 8}  # a part of a period that is timed, its time then times as much
MODES = ("numpy", "cython", "C++", "C++, 2 threads")


def least(run, repeats: int = 3) -> tuple[float, float]:
    """Seconds of the processor, this process and those it has waited for, and of the clock."""
    found = []
    for _ in range(repeats):
        used, start = os.times(), time.perf_counter()
        run()
        now = os.times()
        found.append((sum(now[:4]) - sum(used[:4]), time.perf_counter() - start))
    return min(cpu for cpu, _ in found), min(wall for _, wall in found)


def prepared(sensors: bool, seed: int = 0):
    """Our network."""
    from bss2jax.config.plastic import load_plastic
    from bss2jax.emulation import prepare

    more = ["neurons.dt=5e-8", "synapses.weight_recurrent=8.0", f"chip.seed={seed}"]
    if sensors:
        homeostasis = '{kind="homeostasis",target=10.0,rate=0.46875,chance=0.023,first=256}'
        more += [
            f'rules=[{{kind="stdp",rate={RATE}}},{homeostasis}]', 'sensors.spread="none"',
            f"sensors.amplitude={AMPLITUDE}", f"sensors.tau={TAU / 1000}", "visited=0",
        ]  # fmt: skip
    return prepare(load_plastic("bistability", more)[0])


def ours(sensors: bool, chips: int) -> tuple[float, float]:
    import jax
    import jax.numpy as jnp

    from bss2jax.plastic import emulate

    each = [prepared(sensors, seed) for seed in range(chips)]
    e = each[0]
    hybrid = jax.tree.map(lambda *a: jnp.stack(a), *(one.hybrid for one in each))
    state = jax.tree.map(lambda a: jnp.stack([a] * chips), e.begin())
    one = lambda h, s: emulate(h, e.rule, e.environment, s, e.key, 1)  # noqa: E731
    run = jax.jit(jax.vmap(one))
    jax.block_until_ready(run(hybrid, state))
    return least(lambda: jax.block_until_ready(run(hybrid, state)))


def write(path: str, sensors: bool) -> None:
    """Writes the network, an input, and the spikes that ours answers with, for Brian2."""
    import jax
    import jax.numpy as jnp

    from bss2jax.plastic import Stimulus, emulate

    e = prepared(sensors)
    h, raster = e.hybrid, e.environment.send((), e.key).raster

    class Given:
        begin = staticmethod(lambda key: ())
        send = staticmethod(lambda world, key: Stimulus(raster))
        answer = staticmethod(lambda world, counts, key: ((), None, {}))

    _, seen = jax.jit(lambda h, s: emulate(h, e.rule, Given, s, e.key, 1))(h, e.begin())
    grown = lambda value: np.broadcast_to(np.asarray(value, float), (h.rows, h.neurons))  # noqa: E731
    of = {name: np.broadcast_to(np.asarray(getattr(h.neuron, name), float), h.neurons)
          for name in ("tau_mem", "tau_syn", "leak", "reset", "threshold")}  # fmt: skip
    np.savez(
        path, raster=np.argwhere(np.asarray(raster)), activity=seen.activity[0], signs=h.signs,
        weights=e.begin().weights, wired=h.wired, strength=grown(h.strength),
        offset=grown(h.offset), unit=jnp.float32(h.unit), waits=h.neuron.waits, **of,
    )  # fmt: skip


TRACES = """
charged : 1
other : 1
before : second
after : second
"""
ON_PRE = """
more = int(after > before) * amplitude * exp((after - t) / tau)
other = clip(other + more, 0, 255)
before = t
"""
ON_POST = """
more = int(before > after) * amplitude * exp((before - t) / tau)
charged = clip(charged + more, 0, 255)
after = t
"""
# What the processors read has noise of an LSB.
STDP = """
charged = floor(charged + randn())
other = floor(other + randn())
w = clip(w + rate * (charged - other), 0, 63)
charged = 0
other = 0
"""
HOMEOSTASIS = """
w = clip(w + int(rand() < 0.023) * floor(0.46875 * (10 - spikes_post)), 0, 63)
"""


def network(b, path: str, sensors: bool, checks: bool):
    """Brian2's network, and the monitor of its spikes.

    Its Euler steps have time constants with which they are the exponential ones of ours, and all
    comes a step later.
    """
    g = np.load(path)
    rows, count = g["wired"].shape
    inputs = rows - count
    slow = lambda name: STEP / (1 - np.exp(-5e-8 / g[name])) * b.second  # noqa: E731
    group = b.NeuronGroup(
        count,
        """
        du/dt = (leak - u + current) / tau_mem : 1 (unless refractory)
        dcurrent/dt = -current / tau_syn : 1
        tau_mem : second (constant)
        tau_syn : second (constant)
        leak : 1 (constant)
        low : 1 (constant)
        high : 1 (constant)
        spikes : 1
        """,
        threshold="u > high",
        reset="u = low; spikes += int(t >= 1 * second)",
        refractory=(int(g["waits"]) + 1) * STEP * b.second,
        method="euler",
    )
    group.tau_mem, group.tau_syn = slow("tau_mem"), slow("tau_syn")
    group.u, group.leak, group.low, group.high = (
        g[name] for name in ("leak", "leak", "reset", "threshold")
    )
    if checks:
        step, row = g["raster"].T
        kept = step < round(CHECKED / STEP)
        source = b.SpikeGeneratorGroup(inputs, row[kept], step[kept] * STEP * b.second)
    else:
        source = b.PoissonGroup(inputs, 10 * b.Hz)
    made = [
        synapses(b, g, source, group, slice(0, inputs), 0, sensors, checks),
        synapses(b, g, group, group, slice(inputs, rows), DELAY - 1, sensors, checks),
    ]
    seen = b.SpikeMonitor(group, record=checks)
    return b.Network([group, source, *made, seen]), seen


def synapses(b, g, source, group, rows: slice, delay: int, sensors: bool, checks: bool):
    """Brian2's synapses of some rows, with what happens at a spike, and at the period's end."""
    made = b.Synapses(
        source,
        group,
        "w : 1\npulse : 1\nstrength : 1 (constant)\noffset : 1 (constant)" + TRACES * sensors,
        on_pre="current += pulse" + ON_PRE * sensors,
        on_post=ON_POST if sensors else None,
        delay=delay * STEP * b.second,
        namespace={"amplitude": AMPLITUDE, "tau": TAU * b.second, "rate": RATE,
                   "unit": float(g["unit"])},
    )  # fmt: skip
    pre, post = np.nonzero(g["wired"][rows])
    of = lambda name: g[name][rows][pre, post]  # noqa: E731
    signs = g["signs"][rows][pre]
    made.connect(i=pre, j=post)
    made.w, made.strength, made.offset = of("weights"), signs * of("strength"), signs * of("offset")
    made.pulse = shown = "floor((strength * w + offset) * 32 + 0.5) / 32 * unit"
    if sensors:
        made.before = made.after = -np.inf * b.second
    code = STDP * sensors + HOMEOSTASIS * (source is group)
    if code and not checks:
        code += f"w = floor(w + 0.5)\npulse = {shown}"
        made.run_regularly(code, dt=STEPS * STEP * b.second, when="end")
    return made


def brian2(mode: str, path: str, sensors: bool, checks: bool) -> tuple[float, float]:
    """Seconds of a period, or how long spikes are those of ours, ms, and the rate over ours."""
    import brian2 as b

    b.seed(0)
    b.defaultclock.dt = STEP * b.second
    alone = mode.startswith("C++")
    if alone:
        b.prefs.devices.cpp_standalone.openmp_threads = 2 if "2" in mode else 0
        directory = tempfile.mkdtemp()
        b.set_device("cpp_standalone", directory=directory, build_on_run=False)
    else:
        b.prefs.codegen.target = mode
    whole, seen = network(b, path, sensors, checks)
    seconds = CHECKED if checks else STEPS * STEP / PARTS.get(mode, 1)
    if alone:
        whole.run(seconds * b.second)
        b.device.build(directory=directory, compile=True, run=checks)
        if not checks:
            b.device.run()
            return least(b.device.run)
    elif not checks:
        whole.run(STEP * b.second)  # compiles
        times = least(lambda: whole.run(seconds * b.second), 1)
        return times[0] * PARTS[mode], times[1] * PARTS[mode]
    else:
        whole.run(seconds * b.second)
    own = np.load(path)["activity"][: round(CHECKED * 1000)]
    step = np.round(np.asarray(seen.t / b.second) / STEP).astype(int) - 1  # a step later
    theirs = np.bincount(step // DELAY, minlength=len(own))[: len(own)]
    differs = np.nonzero(own != theirs)[0]
    return float(differs[0] if len(differs) else len(own)), theirs.sum() / own.sum()


def called(python: str, *arguments: str) -> list[float] | None:
    """What this file answers in a process of its own; None, with the reason said, if it fails."""
    done = subprocess.run([python, __file__, *arguments], capture_output=True, text=True)
    if done.returncode:
        print(f"{arguments[0]} {arguments[1]}: not run: {done.stderr.strip().splitlines()[-1]}")
        return None
    return [float(word) for word in done.stdout.split()[-2:]]


def main() -> None:
    if len(sys.argv) > 1:
        who, what, path, sensors, checks = sys.argv[1:]
        flags = sensors == "True", checks == "True"
        if who == "write":
            write(path, flags[0])
        else:
            print(*(ours(flags[0], int(what)) if who == "ours" else brian2(what, path, *flags)))
        return
    other = os.environ.get("BRIAN2", sys.executable)
    path = str(Path(tempfile.mkdtemp()) / "network.npz")
    for sensors in (False, True):
        print("with sensors" if sensors else "as in the paper, without sensors")
        called(sys.executable, "write", "0", path, str(sensors), "False")
        one = called(sys.executable, "ours", "1", path, str(sensors), "False")
        print(f"  {'bss2jax':16} {one[0]:8.3f} CPU s {one[1]:8.3f} s", flush=True)
        eight = called(sys.executable, "ours", "8", path, str(sensors), "False")
        print(f"  {'bss2jax, 8 chips':16} {eight[0]:8.3f} CPU s {eight[1]:8.3f} s: "
              f"{eight[0] / 8 / one[0]:.2f} of one chip's each", flush=True)  # fmt: skip
        for mode in MODES:
            same = called(other, "brian2", mode, path, str(sensors), "True")
            took = same and called(other, "brian2", mode, path, str(sensors), "False")
            if took:
                print(f"  Brian2, {mode:14} {took[0]:8.3f} CPU s {took[1]:8.3f} s: "
                      f"{took[0] / one[0]:.1f} and {took[1] / one[1]:.1f} times ours; same for "
                      f"{same[0]:.0f} ms, spikes {same[1]:.3f} of ours", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
