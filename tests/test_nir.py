"""NIR in and out: against a twin made of the equations, and back to the same arrays and edges."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

nir = pytest.importorskip("nir")

from graphs_nir import DT, every, graph, neurons, weights  # noqa: E402
from reference_nir import simulate  # noqa: E402

import bss2jax  # noqa: E402
from bss2jax import networks  # noqa: E402
from bss2jax.cli import main  # noqa: E402
from bss2jax.cli.arguments import FRAMEWORKS  # noqa: E402
from bss2jax.networks.nir import read, read_spikes, write, write_spikes  # noqa: E402
from bss2jax.networks.nir.convention import CONVENTIONS  # noqa: E402

SAID = {"unit": "s", "reset": "value", "spikes": "sample", "order": "semi_implicit"}
GRAPHS = every()
USUAL = ["recurrent CubaLIF Affine", "conv, sum, flatten", "branches", "delay"]  # fmt: skip
slow = [pytest.param(name, marks=pytest.mark.slow) for name in GRAPHS if name not in USUAL]
FILES = Path(os.environ.get("BSS2JAX_DATA", "none")) / "nir"


def run(imported, x, **settings):
    """Spikes `[T, B, *shape]`, channels first, of a graph's."""
    network = imported.network(len(x))
    x = np.moveaxis(x, 2, -1)
    y, _, records = network.apply(imported.params, imported.state, x, on="float", **settings)
    return np.moveaxis(np.asarray(y), -1, 2), records


def differing(one, other):
    """What is not the same in two graphs of the same names."""
    assert set(one.nodes) == set(other.nodes)
    found = set(one.edges) ^ {(str(a), str(b)) for a, b in other.edges}
    for name, node in one.nodes.items():
        arrays = {k: v for k, v in vars(node).items() if isinstance(v, np.ndarray)}
        for key, value in arrays.items():
            if not np.array_equal(value, getattr(other.nodes[name], key)):
                found.add((name, key))
    return found


# Few steps compile as long as many: one population's conventions are tried with each graph.
@pytest.mark.parametrize("name", [*USUAL, *slow])  # the others pass the same code again
def test_a_graph_does_what_its_equations_say_and_is_written_as_it_was_read(name):
    given, number = GRAPHS[name], list(GRAPHS).index(name)
    said = SAID | [{}, {"reset": "subtract", "spikes": "jump"}, {"spikes": "dirac"}][number % 3]
    if said["spikes"] == "dirac" and any(hasattr(n, "bias") for n in given.nodes.values()):
        said["spikes"] = "sample"  # a constant is no impulse: the twin does not tell them apart
    shape = tuple(given.nodes["input"].input_type["input"])
    x = (np.random.default_rng(1).random((40, 2, *shape)) < 0.3).astype(float)
    if said["spikes"] == "dirac":
        x *= DT
    imported = read(given, dt=DT, **said)
    found, _ = run(imported, x)
    twin = simulate(given, x, DT, reset=said["reset"], spikes=said["spikes"])["output"]
    assert np.abs(twin).mean() > 0.01
    # A membrane within a rounding of its threshold may fire a step apart; none of these does.
    np.testing.assert_allclose(found, twin, atol=2e-5 * max(1, np.abs(twin).max()))
    back = write(imported.network(40), imported.params, imported.state)
    assert differing(back, given) == set()


def nested_graph(rng):
    nodes = {"lif": neurons(rng, "LIF", (4,)), "w_rec": weights(rng, "Linear", 4, 4)}
    edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    inner = graph((4,), nodes, edges)
    return graph((6,), {"fc": weights(rng, "Affine", 4, 6), "rnn": inner}, output=(4,))


def test_graphs_within_graphs_and_arrays_of_double_precision_come_back(tmp_path):
    rng = np.random.default_rng(2)
    given = nested_graph(rng)
    given.nodes["fc"].weight = rng.normal(size=(4, 6))  # float64, more than float32 holds
    given.metadata["by"] = "hand"
    nir.write(tmp_path / "given.nir", given)
    imported = read(tmp_path / "given.nir", dt=DT, **SAID)
    assert [layer.name for layer in imported.layers] == ["fc+rnn.lif+rnn.w_rec"]
    network = imported.network(5)
    write(network, imported.params, imported.state, tmp_path / "back.nir", like=imported.graph)
    back = nir.read(tmp_path / "back.nir", type_check=False)
    assert differing(back, given) == set()
    assert differing(back.nodes["rnn"], given.nodes["rnn"]) == set()
    changed = {
        "fc+rnn.lif+rnn.w_rec": imported.params["fc+rnn.lif+rnn.w_rec"] | {"bias": jnp.ones(4)}
    }
    other = write(network, changed, imported.state, like=imported.graph)
    assert differing(other, given) == {("fc", "bias")}


def test_files_of_the_paper():
    if not FILES.is_dir():
        pytest.skip(f"no graphs in {FILES}")
    x = np.loadtxt(FILES / "lif_norse.csv", delimiter=",")
    imported = read(FILES / "lif_norse.nir", dt=1e-4, convention="norse")
    z, records = run(imported, x[:, :1, None], observe=("membrane",))
    assert np.flatnonzero(z).tolist() == [460, 510, 710, 760]
    v = np.asarray(records["0+1"]["membrane"])[:, 0, 0]
    np.testing.assert_allclose(np.where(z[:, 0, 0] > 0, 0, v), x[:, 1], atol=1e-6)
    silence = np.zeros((400, 1, 1))
    for dt in (1e-4, 5e-5):
        two = read(FILES / "two_lif_neurons.nir", dt=dt, **SAID)
        _, records = run(two, silence, observe=("output",))
        first = np.flatnonzero(records["linear1+lif1"]["output"])[0]
        assert abs((first + 1) * dt - 0.01 * np.log(6)) <= dt  # alone, v_leak above the threshold
        assert (
            differing(write(two.network(9), two.params, two.state, like=two.graph), two.graph)
            == set()
        )
    rockpool = read(FILES / "lif_rockpool.nir", dt=1e-4, **SAID | {"reset": "subtract"})
    assert [layer.name for layer in rockpool.layers] == ["0_LinearTorch+1_LIFNeuronTorch"]


def refused(given, match, **said):
    with pytest.raises(ValueError, match=match):
        imported = read(given, dt=DT, **SAID | said)
        imported.network(10)


def test_what_a_file_does_not_say_is_asked_for():
    given = GRAPHS["Linear-LIF"]
    for name in ("unit", "reset", "spikes"):
        said = {key: value for key, value in SAID.items() if key != name}
        with pytest.raises(ValueError, match=f"{name}: a NIR file does not say it"):
            read(given, dt=DT, **said)
    with pytest.raises(ValueError, match="did you mean .*norse"):
        read(given, dt=DT, convention="nores")
    refused(given, r"LIF 'n' with Linear 'w': tau_mem: .*unit=us.*another one", unit="us")
    refused(given, "shorter than a step of 0.001 s", unit="ms", order="semi_implicit")
    assert read(given, dt=DT, convention="snntorch").convention.reset == "zero"


def test_what_no_layer_does_is_named():
    rng = np.random.default_rng(0)
    linear, lif = weights(rng, "Linear", 4, 6), neurons(rng, "LIF", (4,))
    odd = graph((6,), {"w": linear, "odd": object()}, output=(4,))
    refused(odd, "'odd': no layer does this; known: Linear")
    refused(
        graph((5,), {"w": linear, "n": lif}), "LIF 'n' with Linear 'w': it has 6 inputs, and is"
    )
    edges = [("input", "w"), ("w", "n"), ("n", "v"), ("v", "m"), ("m", "w"), ("m", "output")]
    loop = {
        "w": weights(rng, "Linear", 4, 4),
        "n": lif,
        "v": weights(rng, "Linear", 4, 4),
        "m": neurons(rng, "LIF", (4,)),
    }
    refused(graph((4,), loop, edges), "cycle .*: a population may return to itself through one")
    grouped = nir.Conv2d((6, 6), np.ones((2, 1, 3, 3), np.float32), 1, 0, 1, 2, np.zeros(2))
    refused(
        graph((2, 6, 6), {"c": grouped, "n": neurons(rng, "LIF", (2, 4, 4))}),
        "Conv2d 'c': groups: got 2",
    )
    negative = neurons(rng, "LIF", (4,), r=(-1.0, -0.5))
    refused(graph((6,), {"w": linear, "n": negative}), "r and w_in: expected numbers above 0")
    shapeless = graph((6,), {"w": linear, "n": lif})
    shapeless.nodes["input"].input_type["input"] = None
    refused(shapeless, "Input 'input': says no shape")
    dangling = graph((6,), {"w": linear, "n": lif})
    dangling.edges.append(("n", "nowhere"))
    refused(dangling, "there is no node 'nowhere'")
    with pytest.raises(ValueError, match="no such file|no graph of NIR"):
        read("nowhere.nir", dt=DT, **SAID)


def test_a_chip_takes_what_it_can_and_says_what_it_cannot():
    rng = np.random.default_rng(5)
    given = graph(
        (6,), {"w": weights(rng, "Affine", 4, 6, 3.0), "n": neurons(rng, "LIF", (4,))}, output=(4,)
    )
    x = jnp.ones((30, 2, 6))
    for said, why in (
        ({"reset": "subtract"}, "layer w.n: a chip's neurons are reset to a potential"),
        ({}, "no synaptic time constant, a chip's have; give tau_syn"),
    ):
        imported = read(given, dt=DT, speedup=1000, **SAID | said)
        network = imported.network(30)
        chip = bss2jax.sample_chip(jax.random.key(0))
        with pytest.raises(ValueError, match=why):
            network.apply(imported.params, imported.state, x, chip, on="chip")
    imported = read(given, dt=DT, speedup=1000, tau_syn=5e-6, **SAID)
    network = imported.network(30)
    z, _, _ = network.apply(imported.params, imported.state, x, chip, on="chip")
    assert 0 < z.mean() < 1
    assert network.plan.names == ("w+n",)
    # Its synapses are written, with the charge of a spike: the graph does what the layer does.
    back = write(network, imported.params, imported.state)
    assert type(back.nodes["n"]).__name__ == "CubaLIF"
    nominal = network.apply(imported.params, imported.state, x, on="float")[0]
    again = read(back, dt=DT, speedup=1000, **SAID)
    twin = again.network(30).apply(again.params, again.state, x, on="float")[0]
    np.testing.assert_array_equal(nominal, twin)


def test_our_own_network_is_what_frameworks_make_of_its_file():
    """Decays, jumps and thresholds, of Euler's tangents in the file's units; codes stay outside."""
    layers = (
        networks.Rate(steps=30), networks.LIF(outputs=8, init_std=0.5), networks.LIF(outputs=4),
        networks.SpikeCount(),
    )  # fmt: skip
    network = networks.build(layers, (6,))
    params = network.init(jax.random.key(0))
    x = (np.random.default_rng(0).random((30, 3, 6)) < 0.4).astype(np.float32)
    ours = networks.build(layers[1:3], networks.Spikes((6,), steps=30, dt=1e-6))
    expected = ours.apply(params, {}, x, on="float")[0]
    assert expected.mean() > 0.02
    for framework, dt in (("norse", 1e-6), ("snntorch", 1e-4), ("spyx", 1e-6), ("jaxsnn", 1e-6)):
        given = write(network, params, {}, framework=framework)
        imported = read(given, dt=dt, convention=framework, reset="value")
        found, _ = run(imported, x)
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match=r"layer dense_0 \(dense\): NIR has no node for it"):
        mixed = networks.build([networks.Dense(outputs=6), *layers], (6,))
        write(mixed, mixed.init(jax.random.key(0)), {})


def test_spikes_are_written_on_a_grid_and_read_as_grid_or_events(tmp_path):
    z = (np.random.default_rng(0).random((6, 2, 3)) < 0.4).astype(np.float32)
    write_spikes(tmp_path / "z.nir", {"lif": z}, 1e-4)
    np.testing.assert_array_equal(read_spikes(tmp_path / "z.nir", 1e-4)["lif"], z)
    events = nir.TimeGriddedData(z.swapaxes(0, 1).astype(bool), 1e-4).to_event(20)
    graph_data = nir.NIRGraphData({"lif": nir.NIRNodeData({"spikes": events})})
    nir.write_data(tmp_path / "events.nir", graph_data)
    np.testing.assert_array_equal(read_spikes(tmp_path / "events.nir", 1e-4)["lif"], z)
    with pytest.raises(ValueError, match="their step is 0.0001 s, expected 0.001 s"):
        read_spikes(tmp_path / "z.nir", 1e-3)


@pytest.mark.slow  # the command line, with a training
def test_the_command_line_imports_trains_and_exports(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    nodes = {"fc": weights(rng, "Affine", 10, 64, 3.0), "lif": neurons(rng, "LIF", (10,))}
    nir.write("net.nir", graph((64,), nodes, output=(10,)))
    call = ["import", "net.nir", "--dt", "1e-3", "--steps", "20"]  # digits fit
    assert main(call) == 2  # what the file does not say
    assert "spikes: a NIR file does not say it" in capsys.readouterr().err
    chip = ["--speedup", "1000", "--tau-syn", "5e-6", "--code", "regular"]
    assert main([*call, "--convention", "norse", *chip]) == 0
    assert main(["plan", "net.toml"]) == 0 and "fc+lif" in capsys.readouterr().out
    assert main(["evaluate", "net.toml"]) == 0
    assert main(["train", "net.toml", "phases.0.epochs=1", "run.dir=run"]) == 0
    assert main(["export", "run", "back.nir", "--like", "net.nir"]) == 0
    back = nir.read("back.nir")
    assert set(back.edges) == {("input", "fc"), ("fc", "lif"), ("lif", "output")}
    np.testing.assert_array_equal(back.nodes["lif"].tau_mem, nodes["lif"].tau)
    odd = {"fc": weights(rng, "Linear", 2, 3), "lif": neurons(rng, "LIF", (2,))}
    nir.write("odd.nir", graph((3,), odd, output=(2,)))
    call = ["import", "odd.nir", "--dt", "1e-3", "--convention", "norse", "--steps", "20"]
    assert main([*call, "--out", "there.toml"]) == 0 and "random" in capsys.readouterr().out
    assert main(["evaluate", "there.toml"]) == 0


def test_the_command_line_knows_the_frameworks_there_are(capsys):
    assert {*FRAMEWORKS, "nir"} == {*CONVENTIONS}
    with pytest.raises(SystemExit):
        main(["import", "x.nir", "--dt", "1e-4", "--convention", "torch"])
    assert "no --convention 'torch'" in capsys.readouterr().err


def test_a_graph_whose_layers_do_not_fit_is_one_line(tmp_path, capsys):
    """Input, traces, and neurons that take spikes: read as layers, it makes no network."""
    ones = np.ones(3, np.float32)
    nodes = {
        "input": nir.Input({"input": np.array([3])}),
        "li": nir.LI(tau=0.01 * ones, r=ones, v_leak=0 * ones),
        "lif": nir.LIF(0.01 * ones, ones, 0 * ones, ones, 0 * ones),
        "output": nir.Output({"output": np.array([3])}),
    }
    edges = [("input", "li"), ("li", "lif"), ("lif", "output")]
    nir.write(tmp_path / "x.nir", nir.NIRGraph(nodes, edges))
    out = str(tmp_path / "x.toml")
    line = ["import", str(tmp_path / "x.nir"), "--dt", "1e-4", "--convention", "norse"]
    assert main([*line, "--out", out]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("bss2jax: ") and "takes spikes" in said[-1]
