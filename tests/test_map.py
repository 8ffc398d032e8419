"""`bss2jax map` and `plan --system`: a network over chips from the command line."""

import json

import pytest

from bss2jax.cli import main

TINY = """name = "tiny"
data.name = "digits"
layers = [
    { kind = "flatten" },
    { kind = "latency", steps = 12, dt = 1e-6 },
    { kind = "lif", outputs = 520, init_mean = 0.1, init_std = 0.1 },
    { kind = "li", outputs = 10 },
    { kind = "max_over_time" },
]
phases = [{ on = "chip", epochs = 1, batch_size = 50, learning_rate = 1e-3 }]
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def mapped(tiny):
    """A plan's file, of the fast search."""
    path = tiny.parent / "tiny.plan.json"
    found = ["map", str(tiny), "--system", "star12", "--method", "pycarl", "--out", str(path)]
    assert main(found) == 0
    return path


def test_map_writes_a_plan_that_plan_shows(tiny, mapped, capsys):
    saved = json.loads(mapped.read_text())
    assert saved["system"] == "star12" and sum(count for _, count in saved["chips"]) == 530
    assert main(["plan", str(tiny), f"plan.file={mapped}"]) == 0
    shown = capsys.readouterr().out
    assert "star12: 2 of 12 chips" in shown and "speed-up" in shown and "assumed" in shown
    assert main(["plan", str(tiny), "--system", "case", "--guarantee", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["system"]["name"], told["system"]["used"]) == ("case", 2)
    assert [t["chips"] for t in told["system"]["by_chips"]] == [1, 2]
    one, two = told["guarantee"]
    assert one["seconds"] > 2 * two["seconds"] and "lif_0.1" in one["critical_cycle"]


def test_map_weighs_objectives_and_draws_their_front(tiny, capsys):
    out, front = tiny.parent / "long.json", tiny.parent / "front.png"
    call, aim = ["map", str(tiny), "--method", "pycarl", "--out", str(out)], "energy+0.2*lifetime"
    both = ["--system", "pcmtiles(2,3)", "--objective", aim, "--front", str(front)]
    assert main([*call, *both]) == 0
    shown = capsys.readouterr().out
    assert "Pareto front of" in shown and front.stat().st_size > 5000
    # Relative to neurons in order, which it begins with.
    assert float(shown.split(f"{aim}: ")[1].split(";")[0]) <= 1.2
    assert main([*call, "--system", "star12", "--objective", "mismatch"]) == 0
    assert "mismatch: " in capsys.readouterr().out
    assert main([*call, "--system", "star12", "--front", str(front)]) == 2
    assert "map: --front: expected an objective of two terms" in capsys.readouterr().err
    assert main([*call, "--system", "star12", "--objective", "lifetime"]) == 2
    assert "map: lifetime: star12 has no cells that wear" in capsys.readouterr().err


@pytest.mark.parametrize(
    "overrides, said",
    [
        (["plan.system=star12", "layers.2.outputs=9000"], "needs .* circuits.* too few"),
        (["plan.system=ring"], "no preset 'ring'"),
        (["plan.file={plan}", "layers.2.outputs=300"], "another network: it places 530 neurons"),
        (["plan.file={plan}", "plan.system=case"], "is of star12, not of case"),
        (["plan.file=/nowhere"], "No such file"),
    ],
)
def test_what_does_not_fit_is_one_line(tiny, mapped, capsys, overrides, said):
    import re

    given = [each.format(plan=mapped) for each in overrides]
    assert main(["plan", str(tiny), *given]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("bss2jax: plan: ") and re.search(said, message)


def test_a_dense_recurrent_population_that_is_too_large_is_told_three_ways_out(tiny, capsys):
    large = ["layers.2.outputs=900", "layers.2.recurrent=true", "plan.system=star12"]
    assert main(["plan", str(tiny), *large]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    for way in ("fewer neurons", "sparse", "larger system", "too few", "star12 has 12"):
        assert way in message
