"""A branched cell of 20 compartments in Arbor: peaks of its PSPs, kept for tests/test_compartments.

    python benchmarks/arbor_dendrite.py     # writes tests/arbor_dendrite.npz; needs arbor (0.12.2)

Arbor solves the cable equation on control volumes. Each compartment is one of them: half a piece of
cable before its centre and half a piece for each compartment behind it (as many for an end), so
that capacitances are 2 or 3 halves. Flux between volumes is taken between centres, or the branch
points that are centres here: tau_icc = (capacitance of half a piece) x (resistance of a whole one).
Passive, tau_mem 10 ms, tau_icc 2 ms, synaptic currents, tau_syn 10 ms, one input at a time at
five of the compartments; on the chip a thousand times faster.
"""

from pathlib import Path

import numpy as np

# Number of the parent of each compartment but the first: a trunk with four branches.
PARENTS = (0, 1, 2, 3, 4, 5, 6, 2, 8, 9, 4, 11, 12, 13, 12, 15, 6, 17, 18)
INPUTS = (0, 3, 7, 10, 16)
TAU_MEM, TAU_ICC, TAU_SYN = 10.0, 2.0, 10.0  # ms
HALF, RADIUS, CM = 50.0, 2.0, 0.01  # um, um, F/m2
LENGTH, DT, CURRENT = 80.0, 0.002, 0.01  # ms, ms, nA
BEHIND = 99  # tag of the halves behind centres


def halves() -> list[int]:
    """Halves of a piece of cable that each compartment has: its capacitance."""
    children = np.bincount(PARENTS, minlength=len(PARENTS) + 1)
    return [int(max(n, 1)) + 1 for n in children]


def main() -> None:
    import arbor as A
    from arbor import units as U

    area = 2 * np.pi * RADIUS * HALF * 1e-12
    resistance = 1e-3 * TAU_ICC / (CM * area)
    resistivity = resistance * np.pi * (RADIUS * 1e-6) ** 2 / (2 * HALF * 1e-6)
    tree, ends, x = A.segment_tree(), {}, {}

    def piece(parent, begin, end, level, tag):
        ends_of = [A.mpoint(at, 200.0 * level, 0, RADIUS) for at in (begin, end)]
        return tree.append(A.mnpos if parent is None else parent, *ends_of, tag=tag)

    # Where a compartment is drawn changes nothing; the lengths do. The half before its centre has
    # its number as tag: it begins where the volume does.
    ends[0], x[0] = piece(None, -HALF, 0.0, 0, 1), 0.0
    for c, p in enumerate(PARENTS, 1):
        middle = piece(ends[p], x[p], x[p] + HALF, 0, BEHIND)
        ends[c] = piece(middle, x[p] + HALF, x[p] + 2 * HALF, 0, c + 1)
        x[c] = x[p] + 2 * HALF
    for c in set(range(len(PARENTS) + 1)) - set(PARENTS):
        piece(ends[c], x[c], x[c] + HALF, 0, BEHIND)
    found = simulate(A, U, tree, resistivity)
    # Of 1 nA into the leak of one half.
    unit = 1e-9 / (CM / (1e-3 * TAU_MEM) * area) * 1e3
    peaks, times = found.max(-1) / (CURRENT * unit), DT * found.argmax(-1)
    out = Path(__file__).parent.parent / "tests" / "arbor_dendrite.npz"
    np.savez_compressed(
        out, parents=PARENTS, halves=halves(), inputs=INPUTS, peaks=peaks.astype(np.float32),
        times=times.astype(np.float32), arbor=A.__version__,
    )  # fmt: skip
    print(f"{out}: peaks of input 0 at the trunk {np.round(peaks[0, :8] / peaks[0, 0], 4)}")


def simulate(A, U, tree, resistivity: float) -> np.ndarray:
    """Membranes above rest, mV, `[inputs, compartments, steps]`."""
    rest, traces = -65.0, []
    number = len(PARENTS) + 1
    begins = " ".join(f"(proximal (tag {c + 1}))" for c in range(1, number))
    policy = A.cv_policy_explicit(f"(sum {begins})")
    for source in INPUTS:
        decor = A.decor()
        decor.set_property(Vm=rest * U.mV, cm=CM * U.F / U.m2, rL=100 * resistivity * U.Ohm * U.cm)
        g = CM / (1e-3 * TAU_MEM) * 1e-4  # S/cm2
        decor.paint("(all)", A.density(f"pas/e={rest}", g=g))
        # The amplitude of Arbor's own synapse of current is that of a PSP: a current then.
        time = np.arange(0.0, LENGTH, 0.05)
        current = CURRENT * np.exp(-time / TAU_SYN)
        envelope = [(t * U.ms, i * U.nA) for t, i in zip(time, current, strict=True)]
        # Anywhere in a volume is as at its centre.
        decor.place(f"(on-components 0.5 (tag {source + 1}))", A.i_clamp(envelope))
        cell = A.cable_cell(tree, decor, A.label_dict(), policy)
        assert A.cv_data(cell).num_cv == number
        traces.append(run(A, U, cell, number, rest))
    return np.array(traces)


def run(A, U, cell, number: int, rest: float) -> np.ndarray:
    class Recipe(A.recipe):
        def num_cells(self):
            return 1

        def cell_kind(self, gid):
            return A.cell_kind.cable

        def cell_description(self, gid):
            return cell

        def global_properties(self, kind):
            return A.neuron_cable_properties()

        def probes(self, gid):
            return [
                # At the centre: anywhere else Arbor interpolates.
                A.cable_probe_membrane_voltage(f"(distal (tag {c + 1}))", f"v{c}")
                for c in range(number)
            ]

    simulation = A.simulation(Recipe())
    handles = [
        simulation.sample((0, f"v{c}"), A.regular_schedule(DT * U.ms)) for c in range(number)
    ]
    simulation.run(LENGTH * U.ms, DT * U.ms)
    return np.array([simulation.samples(handle)[0][0][:, 1] - rest for handle in handles])


if __name__ == "__main__":
    main()
