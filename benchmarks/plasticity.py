"""An update period of the network of 512 neurons against Brian2; and eight chips side by side.

    python benchmarks/plasticity.py             # ours, and Brian2 where it is installed
    BRIAN2=path/to/python python benchmarks/plasticity.py   # Brian2 of another environment

The network of `configs/plastic/bistability.toml` with weights of 8 at a step of 50 us of the model,
for one period: 2 s of the model, then the update. Brian2 runs as its authors ran it, in Cython,
after a period that compiles; where a compiler is at hand also in C++, whole. Then eight chips by
`vmap`, time over eight times that of one. Times are CPU seconds, as machines are
shared, of all threads, of the best of three (Cython: of one), compile time apart.
"""

import os
import subprocess
import sys
import tempfile

N, INPUTS, DT, SECONDS = 512, 256, 50e-6, 2.0
PART = 8  # of a period that Brian2 runs in Cython, its time then times as much


def clock() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def best(run, repeats: int = 3) -> float:
    """CPU seconds of the best of some calls, after a first one."""
    run()
    times = []
    for _ in range(repeats):
        start = clock()
        run()
        times.append(clock() - start)
    return min(times)


def ours(chips: int = 1) -> float:
    import jax
    import jax.numpy as jnp

    from bss2jax.config.plastic import load_plastic
    from bss2jax.emulation import prepare
    from bss2jax.plastic import emulate

    more = ["neurons.dt=5e-8", "synapses.weight_recurrent=8.0"]
    each = [
        prepare(load_plastic("bistability", [*more, f"chip.seed={i}"])[0]) for i in range(chips)
    ]
    e = each[0]
    hybrid = jax.tree.map(lambda *a: jnp.stack(a), *(one.hybrid for one in each))
    state = jax.tree.map(lambda a: jnp.stack([a] * chips), e.begin())
    one = lambda h, s: emulate(h, e.rule, e.environment, s, e.key, 1)  # noqa: E731
    run = jax.jit(jax.vmap(one))
    return best(lambda: jax.block_until_ready(run(hybrid, state)))


def brian2(target: str) -> float:
    import brian2 as b
    import numpy as np

    b.seed(0)
    b.defaultclock.dt = DT * b.second
    if target == "cpp_standalone":
        b.set_device("cpp_standalone", directory=tempfile.mkdtemp(), build_on_run=False)
    else:
        b.prefs.codegen.target = target
    equations = """
    du/dt = (-u + ie - ii) / (21.48 * ms) : 1 (unless refractory)
    die/dt = -ie / (5.14 * ms) : 1
    dii/dt = -ii / (5.14 * ms) : 1
    """
    group = b.NeuronGroup(
        N, equations, threshold="u > 1", reset="u = -0.463", refractory=2 * b.ms, method="euler"
    )
    source, parts = b.PoissonGroup(INPUTS, 10 * b.Hz), [group, b.SpikeMonitor(group, record=False)]
    parts.append(source)
    for start, count, of in ((0, INPUTS, source), (0, N, group)):
        split = round(0.8 * count)
        for low, high, onto in ((start, split, "ie"), (split, count, "ii")):
            made = b.Synapses(of[low:high], group, "w : 1", on_pre=f"{onto} += w / 71.37",
                              delay=1 * b.ms)  # fmt: skip
            made.connect(p=0.3125 if of is source else 0.1992)
            made.w = 17 if of is source else 8
            parts.append(made)
    network = b.Network(parts)
    if target == "cpp_standalone":
        network.run(SECONDS * b.second)
        b.device.build(compile=True, run=False, directory=None)
        times = []
        for _ in range(3):
            start = clock()
            b.device.run()
            times.append(clock() - start)
        return min(times)

    def period() -> None:
        network.run(SECONDS / PART * b.second)
        step = np.floor(0.46875 * (10 - np.asarray(parts[1].count) / SECONDS * PART))
        for made in parts[-2:]:
            chosen = np.random.random(len(made.w)) < 0.023
            made.w = np.clip(np.asarray(made.w) + chosen * step[np.asarray(made.j)], 0, 63)

    return PART * best(period, 1)


def main() -> None:
    if len(sys.argv) > 1:
        name, what = sys.argv[1:]
        print(ours(int(what)) if name == "ours" else brian2(what))
        return
    found = {}
    other = os.environ.get("BRIAN2", sys.executable)
    for title, python, name, what in (
        ("bss2jax, one chip", sys.executable, "ours", "1"),
        ("bss2jax, 8 chips", sys.executable, "ours", "8"),
        ("Brian2, Cython", other, "brian2", "cython"),
        ("Brian2, C++", other, "brian2", "cpp_standalone"),
    ):
        done = subprocess.run([python, __file__, name, what], capture_output=True, text=True)
        if done.returncode:
            print(f"{title:20} not run: {done.stderr.strip().splitlines()[-1]}")
            continue
        found[title] = float(done.stdout.split()[-1])
        print(f"{title:20} {found[title]:7.2f} CPU s a period", flush=True)
    one = found["bss2jax, one chip"]
    print(f"8 chips by vmap: {found['bss2jax, 8 chips'] / 8 / one:.2f} of one chip's time each")
    for title in ("Brian2, Cython", "Brian2, C++"):
        if title in found:
            print(f"{title}: {found[title] / one:.1f} times ours")


if __name__ == "__main__":
    main()
