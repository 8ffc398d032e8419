"""`bss2jax export`: what a run has learned, for other programs."""

import argparse

from bss2jax.cli.arguments import Commands, add_command

_KINDS = ("weights", "codes", "hxtorch")


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = "Write what a finished run has learned to an npz file, for other programs."
    export = add_command(commands, "export", _export, text)
    export.add_argument("run", help="a run directory")
    export.add_argument(
        "--as",
        dest="kind",
        choices=_KINDS,
        default="weights",
        help="weights as they were trained (the default), 6-bit codes with their places on the "
        "chip, or what hxtorch's layers take",
    )
    export.add_argument("--out", metavar="FILE", help="the file; default: RUN/KIND.npz")


def _export(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from bss2jax.runs.export import export
    from bss2jax.runs.run import open_run

    with arguments.window.stage(f"opening {arguments.run}"):
        run = open_run(arguments.run)
    path = export(run, arguments.kind, arguments.out or Path(run.path) / f"{arguments.kind}.npz")
    arguments.window.result(f"{arguments.kind}: {path}")
