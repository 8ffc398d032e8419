"""`bss2jax report`: runs as one page."""

import argparse

from bss2jax.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    report = add_command(commands, "report", _report, "Write a report of runs as one HTML page.")
    report.add_argument("runs", nargs="+", metavar="RUN", help="a run directory, finished or not")
    report.add_argument(
        "--out",
        metavar="FILE",
        help="the page; default: RUN/report.html, or report.html here for several runs",
    )


def _report(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from bss2jax import report

    runs = arguments.runs
    # Pages of single runs do not take each other's place.
    usual = Path(runs[0]) / "report.html" if len(runs) == 1 else Path("report.html")
    with arguments.window.stage("writing the page"):
        page = report.write(runs, arguments.out or usual)
    print(page)
