"""Training steps of bss2jax and of other libraries of spiking networks, side by side.

    python benchmarks/peers [--cases T100 T32 recurrent] [--only NAME ...] [--repeats 10]
        [--out FILE]

In an environment with the group `bench`, or by `make bench`. All have the same weights, spikes and
labels; `workload.py` has the equations. Each runs in a process of its own and waits while others
take their turns of some steps, round by round. First its outputs are compared with a reference in
NumPy, which has the library's own equations where they cannot be set: the notes say in what they
differ. A library that is not there, whose outputs are not those, or which does not learn, is left
out with a sentence.

Beside the times stand minor faults of a step: what is allocated anew is paid for. Ratios are to a
scan with its gradient written by hand: best over best, and the median of those of each round.
"""

import argparse
import multiprocessing
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import worker
from workload import CASES, Case, Equations, loss, reference

from bss2jax.text import table


@dataclass(frozen=True)
class Entry:
    """What is measured.

    Attributes:
        module: where its function of this name is.
        equations: those that it has.
        note: in what else it differs.
    """

    module: str
    equations: Equations = Equations()
    note: str = ""


ENTRIES = {
    "hand": Entry("ours"),
    "dense": Entry("ours"),
    "events": Entry("ours"),
    "spyx": Entry("of_jax", Equations(subtracts=True, delayed=True)),
    "jaxsnn": Entry("of_jax", Equations(late=True), "the gradient goes through the reset"),
    "brainpy": Entry("of_jax", note="the gradient goes through the reset"),
    "norse": Entry("of_torch", note="the surrogate's slope cannot be set"),
    "snntorch": Entry("of_torch"),
    "spikingjelly": Entry("of_torch"),
}
OURS = {"hand": "by hand", "dense": "bss2jax, dense", "events": "bss2jax, events"}
WARM = 1  # rounds that do not count
# A sum in float32 now and then falls to the other side of a threshold, and what follows differs.
SPIKES, SCORES = 1e-3, 1e-2  # shares of spikes, and of samples, that may differ


@dataclass(frozen=True)
class Measured:
    """One library in one case: `[rounds, steps of a turn]` milliseconds and minor faults."""

    times: np.ndarray
    faults: np.ndarray

    @property
    def best(self) -> float:
        """Milliseconds of the fastest step."""
        return float(self.times.min())

    def over(self, other: "Measured") -> tuple[float, float]:
        """Returns the ratio of the best, and the median of the ratios of each round's best."""
        each = self.times.min(1) / other.times.min(1)
        return self.best / other.best, float(np.median(each))


def wrong(case: Case, equations: Equations, found: tuple) -> str:
    """Returns what is wrong with outputs, '' for nothing."""
    expected, scores = reference(case, equations)
    spikes, got = found
    if spikes is not None:
        differ = np.abs(spikes - expected).sum() / expected.sum()
        if differ > SPIKES:
            return f"{differ:.1%} of its spikes differ from the reference's"
    differ = (np.abs(got - scores).max(-1) > 1e-3).mean()
    return f"scores of {differ:.0%} of the samples differ" if differ > SCORES else ""


def start(name: str, case: Case) -> tuple[Any, str]:
    """Returns the connection to a process that is ready to take steps, and what is wrong, or ''."""
    entry = ENTRIES[name]
    here, there = multiprocessing.Pipe()
    arguments = there, entry.module, name, case
    context = multiprocessing.get_context("spawn")
    context.Process(target=worker.serve, args=arguments, daemon=True).start()
    there.close()
    try:
        found = here.recv()
    except EOFError:
        found = "its process ended"
    return here, found if isinstance(found, str) else wrong(case, entry.equations, found)


def measure(case: Case, names: list[str], repeats: int) -> dict[str, Measured]:
    """Returns what steps of one case took, by name; prints who is left out, and why."""
    ready: dict[str, Any] = {}
    for name in names:
        connection, problem = start(name, case)
        if problem:
            print(f"{name}, {case}: left out: {problem}")
        else:
            ready[name] = connection
    turns = range(WARM + repeats)
    rounds = np.array([[worker.asked(one, "turn") for one in ready.values()] for _ in turns])[WARM:]
    before, found = loss(reference(case, Equations())[1], case.labels()), {}
    for i, (name, connection) in enumerate(ready.items()):
        after = loss(worker.asked(connection, "outputs")[1], case.labels())
        connection.send("end")
        if after < before:
            found[name] = Measured(rounds[:, i, :, 0], rounds[:, i, :, 1])
        else:
            print(f"{name}, {case}: left out: its loss rose from {before:.2f} to {after:.2f}")
    return found


def described(found: dict[str, dict[str, Measured]], repeats: int) -> str:
    """Returns what was found, by case and name, as one table with notes."""
    names = [n for n in ENTRIES if any(n in of for of in found.values())]
    rows = [
        [OURS.get(name, f"{name} {found_version(name)}")]
        + [word for of in found.values() for word in _cells(of, name)]
        for name in names
    ]
    columns = ("ratio", "median", "faults")
    header = [""] + [word for case in found for word in (f"{case}, ms", *columns)]
    notes = [f"{case}: {CASES[case]}." for case in found]
    steps = f"{repeats} turns of {worker.TURN} steps"
    notes.append(f"ms: the best step of {steps}; ratio: to by hand, best over best; median: of the")
    notes.append("ratios of each round, each of the best of a turn; faults: minor ones of a step.")
    for name in names:
        told = [each for each in (str(ENTRIES[name].equations), ENTRIES[name].note) if each]
        notes += [f"{name}: {'; '.join(told)}."] if told else []
    for case, of in found.items():
        peers = {name: one.best for name, one in of.items() if name not in OURS}
        if peers and "events" in of and "dense" in of:
            fastest = min(peers, key=lambda name: peers[name])
            events, dense = (of[fastest].over(of[own]) for own in ("events", "dense"))
            notes.append(
                f"{case}: the fastest peer, {fastest}, takes {events[0]:.2f} times as long as "
                f"bss2jax with events (median {events[1]:.2f}), {dense[0]:.2f} times as long as "
                f"dense ({dense[1]:.2f})."
            )
    return f"{machine()}\n\n{table(header, rows)}\n\n" + "\n".join(notes)


def _cells(of: dict[str, Measured], name: str) -> tuple[str, ...]:
    if name not in of:
        return ("",) * 4
    ratios = (f"{r:.2f}" for r in of[name].over(of["hand"])) if "hand" in of else ("", "")
    return f"{of[name].best:.1f}", *ratios, f"{np.median(of[name].faults):.0f}"


def found_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def machine() -> str:
    """Returns what it was measured on."""
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = cpus.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    known = {name: found_version(name) for name in ("jax", "flax", "torch", "numpy")}
    said = ", ".join(f"{name} {number}" for name, number in known.items() if number)
    return (
        f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python "
        f"{platform.python_version()}, {said}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--only", nargs="*", choices=ENTRIES, default=list(ENTRIES))
    parser.add_argument("--repeats", type=int, default=10, help="turns of each")
    parser.add_argument("--out", type=Path, help="file that the table is written to, too")
    args = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    found = {name: measure(CASES[name], args.only, args.repeats) for name in args.cases}
    text = described(found, args.repeats)
    print(f"\n{text}")
    if args.out:
        args.out.write_text(f"```\n{text}\n```\n", encoding="utf-8")


if __name__ == "__main__":
    main()
