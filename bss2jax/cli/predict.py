"""`bss2jax predict`: a finished run classifies files."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bss2jax.cli.arguments import CallError, Commands, add_command, add_json, seed

if TYPE_CHECKING:
    import numpy as np

    from bss2jax.runs.run import Run


def add(commands: Commands) -> None:
    """Adds the command to the line's."""
    text = "Classify images or arrays with a finished run."
    predict = add_command(commands, "predict", _predict, text)
    predict.add_argument("run", help="a run directory")
    predict.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="an image, a folder of images, or a .npy array of samples as the data set has them",
    )
    predict.add_argument("--on", metavar="EXECUTION", help="float, ideal or chip")
    predict.add_argument("--invert", action="store_true", help="images are dark on light")
    predict.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="the seed of the chip's trial noise"
    )
    add_json(predict)


def _predict(arguments: argparse.Namespace) -> None:
    import numpy as np

    from bss2jax.runs.run import open_run

    window = arguments.window
    with window.stage(f"opening {arguments.run}"):
        run = open_run(arguments.run)
        named = [pair for name in arguments.files for pair in _samples(run, Path(name), arguments)]
    try:
        with window.stage("classifying"):
            x = np.stack([sample for _, sample in named])
            found = run.predict(x, on=arguments.on, seed=arguments.seed)
    except ValueError as error:
        raise CallError(str(error)) from None
    rows = [
        (name, label, f"{score:.4g}", second)
        for (name, _), label, (score, second) in zip(
            named, found.names, (_first_two(s, run.classes) for s in found.scores)
        )
    ]
    if arguments.json:
        keys = ("file", "class", "score", "next")
        window.result(json.dumps([dict(zip(keys, row)) for row in rows], indent=2))
    else:
        window.table(("file", "class", "score", "next best"), rows)


def _first_two(scores: "np.ndarray", classes: Sequence[str]) -> tuple[float, str]:
    """The highest score, and the class of the second one with its score."""
    order = scores.argsort()[::-1]
    second = f"{classes[order[1]]} ({scores[order[1]]:.4g})" if len(order) > 1 else ""
    return float(scores[order[0]]), second


def _samples(
    run: "Run", path: Path, arguments: argparse.Namespace
) -> list[tuple[str, "np.ndarray"]]:
    """The samples of a file or folder, each with its name."""
    from bss2jax.data.images import SUFFIXES

    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise CallError(f"{path}: no images in this folder; known: {', '.join(SUFFIXES)}")
        return [(str(file), _image(run, file, arguments.invert)) for file in files]
    if path.suffix == ".npy":
        return _array(run, path)
    return [(str(path), _image(run, path, arguments.invert))]


def _array(run: "Run", path: Path) -> list[tuple[str, "np.ndarray"]]:
    import numpy as np

    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CallError(f"{path}: no array: {error}") from None
    try:
        samples = run.samples(x)
    except ValueError as error:
        raise CallError(f"{path}: {error}") from None
    return [(f"{path}[{i}]" if len(samples) > 1 else str(path), s) for i, s in enumerate(samples)]


def _image(run: "Run", path: Path, invert: bool) -> "np.ndarray":
    from bss2jax.data.images import read_image

    try:
        return run.model.valued(read_image(path, run.network.input.size, invert=invert))
    except ValueError as error:
        raise CallError(str(error)) from None
