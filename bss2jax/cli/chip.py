"""`bss2jax chip`: chips kept in files."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from bss2jax.cli.arguments import Commands, add_command, add_group, add_json, seed

if TYPE_CHECKING:  # the command line imports JAX where it needs it
    from bss2jax import Chip, Substrate


def add(commands: Commands) -> None:
    """Adds the commands to the line's."""
    text = "Draw, show, measure, calibrate and compare chips kept in files."
    actions = add_group(commands, "chip", text)
    sample = add_command(actions, "sample", _sample, "Draw a chip into a file.")
    show = add_command(actions, "show", _show, "Show the quantities of a chip.")
    characterise = add_command(actions, "characterise", _characterise, "Measure a chip on a bench.")
    text = "Set a chip's analog cells, measured."
    calibrate = add_command(actions, "calibrate", _calibrate, text)
    compare = add_command(actions, "compare", _compare, "Compare two chips, place by place.")
    for parser in (sample, show, characterise, calibrate, compare):
        parser.add_argument("file", help="a chip's file")
    sample.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="such as seed=3, preset=uncalibrated, offset=5, substrate.columns=128, or "
        "measured=FILE with a lab's own gain, offset and noise_std (npz or csv)",
    )
    calibrate.add_argument("out", help="the file for the calibrated chip")
    compare.add_argument("other", help="the other chip's file")
    add_json(show)
    for parser in (characterise, calibrate):
        parser.add_argument(
            "--seed", type=seed, default=0, metavar="N", help="the seed of noise and cells"
        )


def _sample(arguments: argparse.Namespace) -> None:
    import jax

    from bss2jax import Chip, config, sample_chip, save_chip

    specimen = config.load_specimen(arguments.overrides)
    sizes = specimen.substrate
    chip = sample_chip(jax.random.key(specimen.seed), specimen.mismatch, substrate=sizes)
    if specimen.measured is not None:
        chip = Chip.from_measurements(specimen.measured, like=chip, substrate=sizes)
    save_chip(chip, arguments.file, substrate=sizes)
    print(f"chip {specimen.seed} is in {arguments.file}")


def _chip(path: str) -> "tuple[Chip, Substrate]":
    """A chip from its file, with the substrate that it says."""
    from bss2jax.chip.file import load_chip, load_substrate

    substrate = load_substrate(path)
    return load_chip(path, substrate=substrate), substrate


def _show(arguments: argparse.Namespace) -> None:
    from bss2jax import BSS2
    from bss2jax.calibration.report import describe_chip, figures_of

    chip, substrate = _chip(arguments.file)
    if arguments.json:
        arguments.window.result(json.dumps(figures_of(chip), indent=2))
    else:
        arguments.window.result(describe_chip(chip))
        if substrate != BSS2:
            arguments.window.result(f"\nof the substrate {substrate!r}")


def _characterise(arguments: argparse.Namespace) -> None:
    import jax

    from bss2jax.calibration.report import describe_characterisation

    (chip, substrate), key = _chip(arguments.file), jax.random.key(arguments.seed)
    with arguments.window.bar("measuring") as bar:
        text = describe_characterisation(chip, key, substrate=substrate, on_step=bar.update)
    arguments.window.result(text)


def _calibrate(arguments: argparse.Namespace) -> None:
    import jax

    from bss2jax import ChipError, save_chip
    from bss2jax.calibration.calibrate import calibrate, describe_calibration

    (chip, substrate), key = _chip(arguments.file), jax.random.key(arguments.seed)
    if Path(arguments.out).exists() and Path(arguments.out).samefile(arguments.file):
        raise ChipError(f"{arguments.out}: the chip that is calibrated; give another file")
    with arguments.window.bar("measuring") as bar:
        done = calibrate(chip, key, substrate=substrate, on_step=bar.update)
    save_chip(done.chip, arguments.out, substrate=substrate)
    arguments.window.result(describe_calibration(done))
    arguments.window.result(f"\nthe calibrated chip is in {arguments.out}")


def _compare(arguments: argparse.Namespace) -> None:
    from bss2jax import ChipError
    from bss2jax.calibration.report import compare_chips

    (one, _), (other, _) = _chip(arguments.file), _chip(arguments.other)
    if one.offset.shape != other.offset.shape:
        sizes = " and ".join("×".join(map(str, chip.offset.shape)) for chip in (one, other))
        raise ChipError(f"{arguments.file}, {arguments.other}: chips of {sizes} columns")
    print(compare_chips(one, other))
