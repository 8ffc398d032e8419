"""`bss2jax report`: runs as one page."""

import argparse

from bss2jax.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    report = add_command(commands, "report", _report, "Write a report of runs as one HTML page.")
    report.add_argument("runs", nargs="+", metavar="RUN", help="a run directory, finished or not")
    report.add_argument(
        "--out", default="report.html", metavar="FILE", help="the page; default: report.html"
    )


def _report(arguments: argparse.Namespace) -> None:
    from bss2jax import report

    with arguments.window.stage("writing the page"):
        page = report.write(arguments.runs, arguments.out)
    print(page)
