"""Several devices give what one gives: to the bit forward, to the order of sums backward.

Devices are those of a process of its own, as JAX's number of CPU devices is that of a process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bss2jax import BSS2
from bss2jax.cli import main
from bss2jax.mapping.describe import describe_devices
from bss2jax.networks import Activations, Dense, build
from bss2jax.training import Augmentation
from bss2jax.training.augment import augment
from bss2jax.training.devices import Devices

HERE = Path(__file__).parent
# Products by rows and by blocks, on an axis of 2 and one of 3: what every run of the tests has.
CORE = ["batch:conv:data=2,pieces=3"]
PRODUCTS = ["batch:conv:data=1,pieces=8", "batch:resampled:chips=4,data=2"]
PRODUCTS += [f"measured:analog:{mesh}" for mesh in
             ("chips=3,data=1", "chips=8,data=1", "chips=2,data=2,pieces=2")]  # fmt: skip
PRODUCTS += ["training:analog:chips=2,data=3", "batch:normed:data=4"]
SPIKES = [
    f"batch:spiking:{mesh}"
    for mesh in (
        "data=3,pieces=2",
        "data=8",
        "data=1,pieces=3",
        "data=1,pieces=8",
        "chips=2,data=1,pieces=4",
    )
]
SPIKES += ["memory:spiking:data=4"]
SPIKES += ["populations:delayed+trained:data=1,pieces=3"]
OTHERS = ["populations:tired+eventprop+autodiff+joined:data=1,pieces=3"]


def over_devices(*cases):
    """What `over_devices.py` says of networks on meshes, by case."""
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "8",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",
    }
    command = [sys.executable, str(HERE / "over_devices.py"), *cases]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert found.returncode == 0, found.stderr[-2000:]
    return json.loads(found.stdout)


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(CORE, id="core"),
        pytest.param(PRODUCTS, id="products", marks=pytest.mark.devices),
        pytest.param(SPIKES, id="spikes", marks=pytest.mark.devices),
        pytest.param(OTHERS, id="others", marks=pytest.mark.slow),
    ],
)
def test_any_number_of_devices_gives_what_one_gives(cases):
    for case, found in over_devices(*cases).items():
        same = [found.pop(name) for name in list(found) if isinstance(found[name], bool)]
        # The gradient is summed once, and nothing that belongs to samples is passed on.
        collectives = found.pop("collectives", {"all-reduce": 1})
        assert collectives.pop("all-reduce") == 1 and not any(collectives.values()), case
        # Four devices hold a step that needs more than twice the memory of each.
        memory = found.pop("memory", 0)
        assert all(same) and memory < 0.5 and len(same) + memory + len(found) > 0, (case, found)
        for name, difference in found.items():
            assert difference < 1e-5, (case, name)


def test_a_part_of_a_batch_is_augmented_as_it_is_within_the_batch():
    x = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 1), np.uint8)
    settings = Augmentation(flip=True, quarter_turns=True, crop=2, shift=1.5, rotation=10)
    key, rows = jax.random.key(0), np.array([5, 2, 7])
    part = jax.jit(lambda x: augment(x, key, settings, (rows, 8)))(x[rows])
    assert_array_equal(part, jax.jit(lambda x: augment(x, key, settings))(x)[rows])


def test_devices_that_are_not_there_are_said():
    with pytest.raises(ValueError, match=r"mesh.devices: got 5, there is 1; .*JAX_NUM_CPU_DEVICES"):
        Devices(devices=5).mesh()
    with pytest.raises(ValueError, match="data 1 x pieces 2 x chips 1 are 2 devices, there is 1"):
        Devices(pieces=2).mesh()
    assert Devices(pieces=2).fitted() == Devices()


def test_one_device_needs_no_mesh():
    assert Devices().mesh() is None


def test_a_plan_says_how_its_pieces_are_dealt_to_devices():
    network = build([Dense(outputs=40), Dense(outputs=3)], Activations((600,), BSS2))
    # 600 rows are five blocks of 128 at most, so two pairs; 40 are one block, so none to deal.
    said = describe_devices(network.plan, 3).splitlines()
    assert said[2].split() == ["dense_0", "2", "pairs", "of", "row", "blocks", "1", "2", "67%"]
    assert said[3].split()[-3:] == ["1", "1", "33%"]


def test_options_of_several_processes_go_together(capsys):
    with pytest.raises(SystemExit):
        main(["train", "digits", "--processes", "2"])
    assert "go with --distributed" in capsys.readouterr().err
