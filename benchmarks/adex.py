"""AdEx of bss2jax against Brian2 and BrainPy on CPU: 4,000 neurons, 1 s of the model, equal step.

    python benchmarks/adex.py
    python benchmarks/adex.py --spikes      # Brian2's spikes of tests/brian2_spikes.py

All in explicit Euler at .1 ms, no synapses, currents spread so that neurons differ; float32 but
Brian2, which has float64. Each prints what it took in its best of ten runs (Brian2's Cython of
three), compile time apart, and how many spikes there were. Those that are not installed are left
out (group: bench-neurons, in an environment of its own: Brian2 needs an older NumPy).

2026-11-26, 2 quiet cores, jax 0.10.2, in turn, three times each: bss2jax 52.7 ms, spread over two
devices 26.4 to 27.2, BrainPy 48.6 to 49.5; compile .16 to .27 s. Brian2, under load: C++ 250 ms.
"""

import json
import subprocess
import sys
import tempfile
import time

import numpy as np

N, SECONDS, DT = 4000, 1.0, 1e-4
C, G, LEAK, RESET, A, TAU, B = 200.0, 12.0, -70.0, -58.0, 2.0, 300.0, 60.0  # adapting
CURRENT = np.linspace(300.0, 700.0, N)  # pA


def best(run, repeats: int = 10) -> tuple[float, float, float]:
    """Seconds of the first call, of the best one after it, and spikes."""
    start = time.perf_counter()
    spikes = run()
    first, times = time.perf_counter() - start, []
    for _ in range(repeats):
        start = time.perf_counter()
        spikes = run()
        times.append(time.perf_counter() - start)
    return first - min(times), min(times), spikes


def ours(devices: int = 1) -> tuple[float, float, float]:
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    import jax.numpy as jnp

    from bss2jax.kernels.neurons.units import AdExModel, AdExScale

    scale = AdExScale(lsb=1.0, zero=0.0)
    model = AdExModel(C, G, LEAK, RESET, tau_w=TAU, a=A, b=B)
    neuron = scale.neuron(model, dt=DT * 1e-3, tau_syn=None, integrator="euler")
    neuron = jax.tree.map(jnp.float32, neuron)
    mesh = jax.make_mesh((devices,), ("neurons",))
    spread = jax.NamedSharding(mesh, jax.P("neurons"))
    current = jax.device_put(jnp.float32(scale.current(CURRENT, model)), spread)

    @jax.jit
    def simulate(neuron, current):
        def step(carry, _):
            state, count = carry
            state, z = neuron.step(state, current)
            return (state, count + z), None

        start = neuron.rest(current), jnp.zeros_like(current)
        return jax.lax.scan(step, start, length=round(SECONDS / DT))[0][1].sum()

    return best(lambda: float(simulate(neuron, current)))


def brainpy() -> tuple[float, float, float]:
    import brainpy as bp
    import brainpy.math as bm

    bm.set_platform("cpu")
    bm.set_dt(DT * 1e3)
    neurons = bp.dyn.AdExIF(
        N, V_rest=LEAK, V_reset=RESET, V_th=0.0, V_T=-50.0, delta_T=2.0, a=A / G, b=B / G, R=1.0,
        tau=C / G, tau_w=TAU, method="euler", V_initializer=bp.init.Constant(LEAK),
    )  # fmt: skip
    current = bm.asarray(CURRENT / G)
    count = bm.Variable(bm.zeros(N))

    def step(i):
        bp.share.save(i=i, t=i * bm.get_dt())
        neurons(current)
        count.value += neurons.spike.value * 1.0

    steps = bm.arange(round(SECONDS / DT))

    @bm.jit
    def simulate():
        bm.for_loop(step, steps)
        return count.sum()

    def run():
        neurons.reset_state()
        count.value = bm.zeros(N)
        return float(simulate())

    return best(run)


def brian2(target: str) -> tuple[float, float, float]:
    import brian2 as b2
    from brian2 import ms, mV, nS, pA, pF

    b2.start_scope()
    b2.defaultclock.dt = DT * b2.second
    if target == "cpp":
        b2.set_device("cpp_standalone", build_on_run=False)
        b2.prefs.devices.cpp_standalone.openmp_threads = int(sys.argv[-1])
    else:
        b2.prefs.codegen.target = "cython"
    names = {"C": C * pF, "g": G * nS, "E": LEAK * mV, "a": A * nS, "tau": TAU * ms}
    names |= {"b": B * pA, "reset": RESET * mV}
    group = b2.NeuronGroup(
        N,
        """dv/dt = (g*(E - v) + g*2*mV*exp((v + 50*mV)/(2*mV)) - w + I)/C : volt
        dw/dt = (a*(v - E) - w)/tau : amp
        I : amp
        count : 1""",
        threshold="v > 0*mV", reset="v = reset; w += b; count += 1", method="euler",
        namespace=names,
    )  # fmt: skip
    group.v, group.I = LEAK * mV, CURRENT * pA
    network = b2.Network(group)
    start = time.perf_counter()
    network.run(SECONDS * b2.second)
    if target == "cpp":
        b2.device.build(directory=tempfile.mkdtemp(prefix="brian2-"), run=False)
        built, times = time.perf_counter() - start, []
        for _ in range(10):
            b2.device.run()
            times.append(b2.device._last_run_time)
        return built, min(times), float(np.asarray(group.count[:]).sum())
    first, times = time.perf_counter() - start, []
    counted = float(np.asarray(group.count[:]).sum())
    for _ in range(3):
        start = time.perf_counter()
        network.run(SECONDS * b2.second)
        times.append(time.perf_counter() - start)
    return first - min(times), min(times), counted


def print_spikes() -> None:
    """Prints the steps at which Brian2 spikes, of each pattern, for 600 ms."""
    import brian2 as b2
    from brian2 import ms, mV, nS, pA, pF

    from bss2jax.kernels.neurons.units import FIRING_PATTERNS, stacked

    b2.prefs.codegen.target = "numpy"
    b2.defaultclock.dt = 0.1 * ms
    models = stacked(model for model, _ in FIRING_PATTERNS.values())
    group = b2.NeuronGroup(
        len(FIRING_PATTERNS),
        """dv/dt = (g*(E - v) + g*2*mV*exp((v + 50*mV)/(2*mV)) - w + I)/C : volt
        dw/dt = (a*(v - E) - w)/tau : amp
        C : farad
        g : siemens
        E : volt
        a : siemens
        tau : second
        b : amp
        back : volt
        I : amp""",
        threshold="v > 0*mV", reset="v = back; w += b", method="euler",
    )  # fmt: skip
    group.C, group.g, group.a = models.capacitance * pF, models.conductance * nS, models.a * nS
    group.E, group.back, group.b = models.leak * mV, models.reset * mV, models.b * pA
    group.tau, group.v = models.tau_w * ms, models.leak * mV
    group.I = [current for _, current in FIRING_PATTERNS.values()] * pA
    monitor = b2.SpikeMonitor(group)
    b2.Network(group, monitor).run(600 * ms)
    for n in range(len(FIRING_PATTERNS)):
        print([round(float(t / (0.1 * ms))) for t in monitor.t[monitor.i == n]])


CONTENDERS = {
    "bss2jax": ("bss2jax", ours),
    "bss2jax, 2 devices": ("bss2jax", lambda: ours(2)),
    "BrainPy": ("brainpy", brainpy),
    "Brian2, Cython": ("brian2", lambda: brian2("cython")),
    "Brian2, C++": ("brian2", lambda: brian2("cpp")),
    "Brian2, C++, 2 threads": ("brian2", lambda: brian2("cpp")),
}


def main() -> None:
    if "--spikes" in sys.argv:
        return print_spikes()
    if len(sys.argv) > 2:
        print("RESULT", json.dumps(CONTENDERS[sys.argv[1]][1]()))
        return
    for name in CONTENDERS:
        threads = "2" if "2 threads" in name else "0"
        done = subprocess.run(
            [sys.executable, __file__, name, threads], capture_output=True, text=True, check=False
        )
        found = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
        if not found:
            print(f"{name:24}  left out: {done.stderr.strip().splitlines()[-1:]}")
            continue
        compiled, seconds, spikes = json.loads(found[0].removeprefix("RESULT"))
        print(f"{name:24}  {seconds:7.3f} s   compile {compiled:6.2f} s   {spikes:.0f} spikes")


if __name__ == "__main__":
    main()
