"""Systems: a network on one chip after the other, and on several at once, without and with delay.

    python experiments/systems.py mnist_spiking phases.0.epochs=10 phases.1.epochs=4
    python experiments/systems.py digits_spiking layers.1.outputs=2000 layers.1.recurrent=true \\
        layers.1.recurrent_inputs=192 --only delay

What precedes the chip is trained once; then the network is trained in the loop on one chip, its
parts one after the other; on the chips of a backplane at once, each a specimen of its own, with
links that take no time; and with links that delay spikes. All are measured on their own chips.
"""

from pathlib import Path

from study import Study, first_on_chip, parser, read, write

from bss2jax.mapping.cost import estimate
from bss2jax.text import table

CASES = {
    "one chip": (),
    "at once": ("plan.system={system}", "plan.delay=false"),
    "delay": ("plan.system={system}",),
}


def measured(parsed, out, start, name):
    """One case: a line of the table."""
    plan = [each.format(system=parsed.system) for each in CASES[name]]
    study = Study.of(parsed.config, [*parsed.overrides, *plan, *start], out / "prepared")
    network = study.experiment.task.network
    if name == "one chip" and network.misfit:
        return (name, "-", "-", "-", "does not fit one")
    run = study.run(name.replace(" ", "-"))
    accuracy = read(run)["test_accuracy"]
    return (
        name,
        str(network.plan.chips),
        f"{1e6 * estimate(network.plan).seconds:.1f} us",
        f"{100 * accuracy['transfer']:.2f}",
        f"{100 * accuracy['chip']:.2f}",
    )


def main(arguments=None):
    made = parser(__doc__)
    made.add_argument("--system", default="star12")
    made.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="some cases")
    parsed = made.parse_intermixed_args(arguments)
    out = parsed.out or Path("runs/systems")
    # On the chips at once, where networks fit that do not fit one; phases before know no chip.
    plan = f"plan.system={parsed.system}"
    base = Study.of(parsed.config, [*parsed.overrides, plan], out)
    start = base.branch(first_on_chip(base.config))
    rows = [measured(parsed, out, start, name) for name in parsed.only]
    header = ("parts", "chips", "a sample", "moved to the chips, %", "trained in the loop, %")
    write(table(header, rows), out, "systems")


if __name__ == "__main__":
    main()
