"""`bss2jax chip`: chips kept in files."""

import argparse

from bss2jax.cli.arguments import Commands, add_command, add_group, seed


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
        help="such as seed=3, preset=uncalibrated, offset=5, or measured=FILE with a lab's own "
        "gain, offset and noise_std (npz or csv)",
    )
    calibrate.add_argument("out", help="the file for the calibrated chip")
    compare.add_argument("other", help="the other chip's file")
    for parser in (characterise, calibrate):
        parser.add_argument(
            "--seed", type=seed, default=0, metavar="N", help="the seed of noise and cells"
        )


def _sample(arguments: argparse.Namespace) -> None:
    import jax

    from bss2jax import Chip, config, sample_chip, save_chip

    specimen = config.load_specimen(arguments.overrides)
    chip = sample_chip(jax.random.key(specimen.seed), specimen.mismatch)
    if specimen.measured is not None:
        chip = Chip.from_measurements(specimen.measured, like=chip)
    save_chip(chip, arguments.file)
    print(f"chip {specimen.seed} is in {arguments.file}")


def _show(arguments: argparse.Namespace) -> None:
    from bss2jax import load_chip
    from bss2jax.calibration.report import describe_chip

    print(describe_chip(load_chip(arguments.file)))


def _characterise(arguments: argparse.Namespace) -> None:
    import jax

    from bss2jax import load_chip
    from bss2jax.calibration.report import describe_characterisation

    chip = load_chip(arguments.file)
    print(describe_characterisation(chip, jax.random.key(arguments.seed)))


def _calibrate(arguments: argparse.Namespace) -> None:
    import jax

    from bss2jax import load_chip, save_chip
    from bss2jax.calibration.calibrate import calibrate, describe_calibration

    done = calibrate(load_chip(arguments.file), jax.random.key(arguments.seed))
    save_chip(done.chip, arguments.out)
    print(f"{describe_calibration(done)}\n\nthe calibrated chip is in {arguments.out}")


def _compare(arguments: argparse.Namespace) -> None:
    from bss2jax import load_chip
    from bss2jax.calibration.report import compare_chips

    print(compare_chips(load_chip(arguments.file), load_chip(arguments.other)))
