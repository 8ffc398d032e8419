"""`bss2jax export`: what a run has learned, for other programs."""

import argparse

from bss2jax.cli.arguments import FRAMEWORKS, Commands, add_command

_KINDS = ("weights", "codes", "hxtorch")


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = "Write what a finished run has learned to a file, npz or NIR, for other programs."
    export = add_command(commands, "export", _export, text)
    export.add_argument("run", help="a run directory")
    export.add_argument("file", nargs="?", help="a file that ends in .nir: the network as NIR")
    export.add_argument(
        "--as",
        dest="kind",
        choices=_KINDS,
        default="weights",
        help="weights as they were trained (the default), 6-bit codes with their places on the "
        "chip, or what hxtorch's layers take",
    )
    export.add_argument("--out", metavar="FILE", help="the file; default: RUN/KIND.npz")
    export.add_argument(
        "--framework", choices=FRAMEWORKS, default="norse",
        help="the framework that is to read the NIR file; default: norse",
    )  # fmt: skip
    export.add_argument(
        "--like", metavar="NIR", help="the NIR file that the network was read from: what has not "
        "changed is written as it is there",
    )  # fmt: skip


def _export(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from bss2jax.config import ConfigError
    from bss2jax.runs.export import export, export_nir
    from bss2jax.runs.run import open_run

    with arguments.window.stage(f"opening {arguments.run}"):
        run = open_run(arguments.run)
    if arguments.file is not None:
        if not arguments.file.endswith(".nir"):
            raise ConfigError(f"{arguments.file}: expected a file that ends in .nir; or --out FILE")
        export_nir(run, arguments.file, arguments.framework, arguments.like)
        arguments.window.result(f"nir: {arguments.file}")
        return
    path = export(run, arguments.kind, arguments.out or Path(run.path) / f"{arguments.kind}.npz")
    arguments.window.result(f"{arguments.kind}: {path}")
