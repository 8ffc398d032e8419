"""`bss2jax import`: a graph of NIR, as a config with what it starts from."""

import argparse

from bss2jax.cli.arguments import FRAMEWORKS, Commands, add_command, count

_CODES = ("latency", "log_latency", "regular", "rate", "current", "delta")
# What a file does not say of itself.
_SAID = {
    "unit": (("s", "ms", "us", "steps"), "unit of the file's times"),
    "spikes": (("sample", "jump", "dirac"), "what a spike is in it"),
    "reset": (("value", "zero", "subtract"), "what a spike leaves of a membrane"),
    "order": (("exponential", "euler", "semi_implicit"), "how a step is computed"),
    "start": (("zero", "leak"), "where membranes begin"),
}


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = (
        "Read a network from a NIR file: writes a config, and the parameters that it starts from."
    )
    imports = add_command(commands, "import", _import, text)
    imports.add_argument("file", help="a NIR file")
    imports.add_argument("--dt", type=float, required=True, help="seconds of a step of the graph")
    imports.add_argument(
        "--data",
        help="the data set that the config trains with; default: the shipped one that fits",
    )
    imports.add_argument(
        "--convention", choices=FRAMEWORKS, help="the framework whose habits the file follows"
    )
    for name, (choices, what) in _SAID.items():
        imports.add_argument(f"--{name}", choices=choices, help=what)
    imports.add_argument("--code", choices=_CODES, default="rate", help="code of the samples")
    imports.add_argument("--steps", type=count, default=100, metavar="T", help="steps of a sample")
    imports.add_argument(
        "--speedup", type=float, default=1.0, help="times that it is to run faster; 1000 on a chip"
    )
    imports.add_argument(
        "--tau-syn", type=float, metavar="S",
        help="synaptic time constant for neurons without one, seconds after the speedup",
    )  # fmt: skip
    imports.add_argument("--out", metavar="FILE", help="the config; default: the file's, .toml")


def _import(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from bss2jax.config import ConfigError
    from bss2jax.networks import nir
    from bss2jax.networks.layer import kind_of
    from bss2jax.runs import imports

    said = {name: getattr(arguments, name) for name in _SAID}
    source = Path(arguments.file)
    path = Path(arguments.out) if arguments.out else source.with_suffix(".toml")
    if path.suffix != ".toml":
        raise ConfigError(f"--out: got {path}, expected a file that ends in .toml")
    with arguments.window.stage(f"reading {source}"):
        try:
            imported = nir.read(
                source, dt=arguments.dt, convention=arguments.convention, **said,
                speedup=arguments.speedup, tau_syn=arguments.tau_syn,
            )  # fmt: skip
            fits = arguments.data or imports.fitting(imported)
        except ValueError as error:  # of a graph that cannot be read, or whose layers do not fit
            raise ConfigError(str(error)) from None
        samples = fits or imports.made_up(imported, path)
        around = imports.Around(samples, arguments.code, arguments.steps)
        config = imports.config_of(imported, around, path.stem)
        imports.save(imported, config, path)
    meant = imported.convention
    arguments.window.result(
        f"meant: times in {meant.unit}, spikes as {meant.spikes}, reset to {meant.reset}, order "
        f"{meant.order}, membranes begin at {meant.start}, dt {arguments.dt:g} s"
    )
    if fits is None:
        arguments.window.result(f"data: no shipped set fits; {samples} is random, put yours there")
    for layer in imported.layers:
        arguments.window.result(f"layer {layer.name} ({kind_of(layer)})")
    arguments.window.result(f"config: {path}\nparameters: {path.with_suffix('.npz')}")
