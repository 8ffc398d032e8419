"""`bss2jax data`: data sets."""

import argparse
from typing import TYPE_CHECKING

from bss2jax.cli.arguments import CallError, Commands, add_command, add_group
from bss2jax.cli.pictures import write_picture

if TYPE_CHECKING:
    from bss2jax.data import Dataset


def add(commands: Commands) -> None:
    """Adds the commands to the line's."""
    actions = add_group(commands, "data", "List, prepare and show data sets.", metavar="ACTION")
    add_command(actions, "list", _list, "List the data sets, and which are prepared here.")
    prepare = add_command(actions, "prepare", _prepare, "Read or download the original files once.")
    show = add_command(actions, "show", _show, "Count the classes and draw some samples of each.")
    for parser in (prepare, show):
        parser.add_argument("name", help="a data set of `bss2jax data list`, or your module:name")
    show.add_argument("--out", metavar="FILE", help="the picture, a PNG; default: NAME.png")


def _list(arguments: argparse.Namespace) -> None:
    from bss2jax import data
    from bss2jax.text import table

    rows = []
    for name in data.names():
        known = data.spec(name)
        where = data.prepared(name)
        state = "needs none" if known.version is None else str(where) if where else "no"
        shape = "x".join(map(str, known.shape))
        rows.append((name, shape, known.dtype, str(len(known.classes)), state))
    print(table(("data set", "sample", "type", "classes", "prepared"), rows))


def _prepare(arguments: argparse.Namespace) -> None:
    print(_class_counts(_load(arguments)))


def _show(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from bss2jax import plot  # says which extra it needs, where matplotlib is missing

    dataset = _load(arguments)
    path = Path(arguments.out or f"{dataset.name}.png")
    print(_class_counts(dataset))
    write_picture(lambda: plot.samples(dataset), path)
    print(f"\nthe picture is in {path}")


def _load(arguments: argparse.Namespace) -> "Dataset":
    from bss2jax import data

    try:
        with arguments.window.stage(f"reading {arguments.name}"):
            return data.load(arguments.name)
    except ValueError as error:
        raise CallError(str(error)) from None


def _class_counts(dataset: "Dataset") -> str:
    """How many samples of each class are in each split."""
    import numpy as np

    from bss2jax.text import table

    names = ("train", "test", "validation")
    splits = {name: split for name in names if (split := getattr(dataset, name)) is not None}
    counts = [np.bincount(split.y, minlength=len(dataset.classes)) for split in splits.values()]
    rows = [(name, *map(str, row)) for name, row in zip(dataset.classes, zip(*counts))]
    rows.append(("all", *(str(len(split.y)) for split in splits.values())))
    note = f"\n\n{dataset.note}" if dataset.note else ""
    return table((dataset.name, *splits), rows) + note
