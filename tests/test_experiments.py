"""The experiments run end to end, at a small size."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))

SHORT = ["phases.0.epochs=3", "phases.1.epochs=2", "noise.std=1.0"]


def test_ladder_writes_a_table_and_a_figure_for_every_chip(tmp_path, capsys):
    import ladder

    ladder.main(["digits", *SHORT, "--chips", "2", "--out", str(tmp_path)])
    text = (tmp_path / "ladder.md").read_text()
    assert "2 chips" in text and "trained in the loop" in text
    assert (tmp_path / "ladder.png").stat().st_size > 5000
    assert (tmp_path / "chip-1" / "summary.json").exists()
    # Ten classes: a ladder of chance would read 10 %.
    loop = next(line for line in text.splitlines() if line.startswith("trained"))
    assert float(loop.split()[4]) > 70


def test_ladder_refuses_a_config_that_does_not_exist(tmp_path):
    import ladder

    from bss2jax.config import ConfigError

    with pytest.raises(ConfigError, match="digits"):
        ladder.main(["digit", "--out", str(tmp_path)])
