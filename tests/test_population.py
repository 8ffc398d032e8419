"""Equal by construction, bit for bit; neurons of one's own; parameters that are trained; memory."""

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import bss2jax
from bss2jax import (
    LI,
    LIF,
    Autodiff,
    Codes,
    EventProp,
    Mismatch,
    Surrogate,
    on_chip,
    population,
    sample_chip,
)  # fmt: skip
from bss2jax.arrays import pytree
from bss2jax.execute import populations
from bss2jax.execute.circuits import OnChips
from bss2jax.kernels.gradients.surrogate import SuperSpike, spike
from bss2jax.kernels.neurons.adex import AdEx
from bss2jax.kernels.neurons.base import Neuron
from bss2jax.kernels.neurons.exact import ExactLIF

T, B, K, N = 25, 6, 200, 12
NOISY = Mismatch(threshold_noise=0.05, membrane_noise=0.05, jitter=100e-9)
KEY = jax.random.key(5)
SLOPE = SuperSpike(alpha=5.0)
NEURONS = {
    "lif": LIF(),
    "waiting": LIF(t_ref=2e-6, integrator="euler"),
    "li": LI(),
    "adex": AdEx(a=0.3, b=0.2, t_ref=1.5e-6, reversal_exc=3.0, reversal_inh=-1.0),
    "exact": ExactLIF(2.2e-5, 5e-6, tau_ref=2e-6, dt=1e-6, starts_anywhere=True, synapse="alpha"),
}
# Compiling takes nearly all of the time. In every run are the neurons whose pass differs most:
# waiting is lif's with one state more, and AdEx takes five times as long.


def often(*names):
    """The neurons as parameters: those not named are slow."""
    return [pytest.param(n, marks=[pytest.mark.slow] * (n not in names)) for n in NEURONS]


@pytest.fixture(scope="module")
def chip():
    return sample_chip(jax.random.key(3), NOISY)


def drawn(recurrent=False):
    rng = np.random.default_rng(7)
    raster = jnp.float32(rng.random((T, B, K)) < 0.1)
    w = jnp.float32(rng.normal(0.05, 0.25, (K, N)))
    return raster, w, jnp.float32(rng.normal(0, 0.4, (N, N))) if recurrent else None


def recorded(chip, sent, w, neuron, recurrent=None, **settings):
    """All that a noisy population on a mismatched chip does: spikes and membranes."""
    circuits = on_chip(chip, K, w.shape[1], recurrent=recurrent is not None)
    observe = ("membrane", "count")
    done = population(
        sent, w, neuron, circuits, KEY, recurrent=recurrent, codes=Codes(), observe=observe,
        **settings,
    )  # fmt: skip
    assert neuron.fires == (done.spikes is not None)
    assert not neuron.fires or 20 < done.spikes.sum() < done.spikes.size / 2
    return jax.tree.leaves(done)


def same(a, b):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(one, other)


def close(a, b, rtol=1e-5):
    """Gradients are sums: their error is relative to them all."""
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert np.linalg.norm(other) > 1e-3
        assert np.linalg.norm(one - other) < rtol * np.linalg.norm(other)


# --- equal by construction


@pytest.mark.parametrize("name", often("li", "exact"))
def test_events_are_their_raster_bit_for_bit(chip, name):
    raster, w, _ = drawn()
    events = bss2jax.to_events(raster, int(raster.sum((0, 2)).max()))
    same(
        recorded(chip, events, w, NEURONS[name], steps=T),
        recorded(chip, raster, w, NEURONS[name]),
    )


# With recurrence every neuron that fires: what it adds is all that samples could share.
@pytest.mark.parametrize(
    "name, recurrent",
    [
        *(
            pytest.param(*each.values, True, marks=each.marks)
            for each in often("lif", "adex")
            if each.values != ("li",)
        ),
        *(pytest.param(*each.values, False, marks=each.marks) for each in often("lif")),
    ],
)
def test_a_batch_is_its_halves_and_its_samples(chip, name, recurrent):
    raster, w, back = drawn(recurrent)
    whole = recorded(chip, raster, w, NEURONS[name], back)
    circuits = on_chip(chip, K, N, recurrent=recurrent)
    for cuts in ([0, 3, 6],) if recurrent else ([0, 3, 6], [*range(7)]):
        parts = [
            population(
                raster[:, first:last], w, NEURONS[name], circuits, KEY, recurrent=back,
                codes=Codes(), observe=("membrane", "count"), sample=first,
            )
            for first, last in pairwise(cuts)
        ]  # fmt: skip
        joined = [
            jnp.concatenate(each, axis=each[0].ndim - 2)
            for each in zip(*map(jax.tree.leaves, parts), strict=True)
        ]
        same(joined, whole)


@pytest.mark.parametrize(
    "on, name",
    [
        *(pytest.param("chip", *each.values, marks=each.marks) for each in often("lif", "exact")),
        *(("plain", "lif"), ("plain", "exact")),
    ],
)
def test_eager_is_jitted_whether_closed_over_or_given(chip, name, on):
    raster, w, _ = drawn()
    circuits, codes = (None, None) if on == "plain" else (on_chip(chip, K, N), Codes())
    run = partial(population, codes=codes, observe=("membrane",))
    args = raster, w, NEURONS[name], circuits, KEY
    eager = run(*args)
    same(eager, jax.jit(run)(*args))
    same(eager, jax.jit(lambda raster, w: run(raster, w, *args[2:]))(raster, w))
    if on == "chip":  # float weights are summed in another order where they are constants
        same(eager, jax.jit(lambda: run(*args))())


# Of the neurons.
@pytest.mark.parametrize("trained", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", often("lif"))  # blocks are cut before any neuron
def test_neurons_in_blocks_are_the_population_as_a_whole(chip, name, trained, monkeypatch):
    """Bit for bit; gradients too, but for the order of sums."""
    raster, w, _ = drawn()
    leak = 0.05 * jnp.linspace(0.9, 1.1, N)  # a parameter of each neuron, and one of all
    membrane = "tau_rc" if name == "exact" else "tau_mem"

    def run(w, raster, leak, tau_mem):
        neuron = replace(NEURONS[name], leak=leak, **{membrane: tau_mem})
        return recorded(chip, raster, w, neuron)

    def both():
        if trained:
            y, back = jax.vjp(partial(run, w, raster), leak, jnp.float32(6e-6))
        else:
            y, back = jax.vjp(partial(run, leak=leak, tau_mem=6e-6), w, raster)
        return y, back([jnp.cos(jnp.arange(a.size, dtype=jnp.float32)).reshape(a.shape) for a in y])

    whole, slopes = both()
    monkeypatch.setattr(populations, "STRENGTHS", 8 * K * 5)  # three blocks, the last one filled up
    populations._population.clear_cache()
    blocks, slopes_of_blocks = both()
    populations._population.clear_cache()
    same(blocks, whole)
    close(slopes_of_blocks, slopes)


def test_neurons_are_the_same_in_any_order_and_on_any_chips(chip):
    """Without noise, which belongs to a neuron's number."""
    raster, w, _ = drawn()
    chips = jax.tree.map(
        lambda a, b: jnp.stack([a, b]), chip, sample_chip(jax.random.key(4), NOISY)
    )
    rng = np.random.default_rng(8)
    chip_of, circuits = rng.integers(0, 2, N), rng.permutation(512)[: 2 * N].reshape(N, 2)
    order = rng.permutation(N)

    def run(chosen):
        placed = bss2jax.gather(chips, chip_of[chosen], circuits[chosen], inputs=K)
        return population(raster, w[:, chosen], LIF(), placed, codes=Codes()).spikes

    whole = run(np.arange(N))
    same(run(order), whole[..., order])
    same(run(order[:5]), whole[..., order[:5]])


def test_other_samples_and_keys_have_other_noise(chip):
    raster, w, _ = drawn()
    circuits = on_chip(chip, K, N)
    run = partial(population, raster, w, LIF(), circuits, codes=Codes())
    whole = run(KEY).spikes
    assert (run(KEY, sample=1).spikes != whole).any()
    assert (run(jax.random.key(6)).spikes != whole).any()
    jaxpr = str(jax.make_jaxpr(lambda: run(None))())
    assert "random" not in jaxpr and "threefry" not in jaxpr


# --- a neuron of one's own


@pytree
@dataclass(frozen=True)
class ToyState:
    v: jax.Array
    adaptation: jax.Array
    age: jax.Array  # a whole number, which has no gradient


@pytree
@dataclass(frozen=True)
class Toy(Neuron):
    """An adaptive exponential neuron, two steps of Euler a step."""

    tau: float | jax.Array = 10e-6
    tau_w: float | jax.Array = 30e-6
    slope: float | jax.Array = 0.2
    jump: float | jax.Array = 0.1
    threshold: float | jax.Array = 1.0
    dt: float = field(default=1e-6, metadata={"static": True})

    def rest(self, like):
        zero = jnp.zeros_like(like)
        return ToyState(zero - 0.1, zero, zero.astype(jnp.int32))

    def flow(self, state, current):
        v, w, h = state.v, state.adaptation, self.dt / 2
        for _ in range(2):
            grow = self.slope * jnp.exp(jnp.clip((v - self.threshold) / self.slope, -20, 2))
            v, w = v + h / self.tau * (-v + grow - w) + current / 2, w - h / self.tau_w * w
        return ToyState(v, w, state.age + 1)

    def over(self, state):
        return state.v - self.threshold

    def after(self, state, fired):
        v = jnp.where(fired, 0.0, state.v)
        return ToyState(v, state.adaptation + self.jump * fired, state.age)

    def on(self, circuits, normal=None):
        threshold = self.threshold * (1 + circuits.threshold)
        return replace(self, tau=self.tau * circuits.tau_mem, threshold=threshold), None


@pytest.mark.slow  # three passes are compiled
@pytest.mark.parametrize("recurrent", (False, True))
@pytest.mark.parametrize(
    "neuron",
    (
        Toy(),
        LIF(t_ref=2e-6, integrator="euler"),
        *(pytest.param(n, marks=pytest.mark.slow) for n in (LIF(), LI())),
    ),
)
def test_the_generic_pass_has_the_gradients_of_autodiff(neuron, recurrent):
    """Of weights, of what is sent, of recurrent weights and of every parameter, membranes too."""
    if recurrent and not neuron.fires:
        pytest.skip("integrators send no spikes")
    raster, w, back = drawn(recurrent)

    def outcome(rule, raster, w, back, neuron):
        done = population(
            raster, w, neuron, recurrent=back, gradient=rule(SLOPE), observe=("membrane",)
        )
        rng = np.random.default_rng(9)
        weights = [jnp.float32(rng.normal(size=a.shape)) for a in jax.tree.leaves(done)]
        return sum((k * a).sum() for k, a in zip(weights, jax.tree.leaves(done), strict=True)), done

    args = jax.tree.map(jnp.float32, (raster, w, back, neuron))
    which = tuple(i for i in range(4) if args[i] is not None)
    ours, theirs = (
        jax.jit(jax.grad(partial(outcome, rule), which, has_aux=True))(*args)
        for rule in (Surrogate, Autodiff)
    )
    same(ours[1].spikes, theirs[1].spikes)
    np.testing.assert_allclose(ours[1].membrane, theirs[1].membrane, atol=1e-5)
    assert ours[1].spikes is None or 20 < ours[1].spikes.sum() < T * B * N / 2
    dropped = {"way"}  # of deviations on a chip, which is not here
    for a, b in zip(ours[0], theirs[0], strict=True):
        if isinstance(a, Neuron):
            a, b = ({k: v for k, v in vars(n).items() if hasattr(v, "shape")} for n in (a, b))
            a, b = ({k: v for k, v in n.items() if k not in dropped} for n in (a, b))
        close(a, b, rtol=2e-5)


def test_a_neuron_of_ones_own_learns_in_the_loop(chip):
    """Its gradient on a chip is not that of the ideal one, and follows the chip's spikes."""
    raster, w, _ = drawn()
    circuits = on_chip(chip, K, N)
    target = jnp.linspace(1, 8, N)

    @jax.jit
    def loss(w):
        done = population(
            raster, w, Toy(), circuits, codes=Codes(), gradient=Surrogate(SLOPE),
            observe=("count",),
        )  # fmt: skip
        return jnp.square(done.count - target).mean()

    step = jax.jit(jax.value_and_grad(loss))
    first = float(loss(w))
    for _ in range(60):
        _, dw = step(w)
        w = w - 0.02 * dw / (jnp.abs(dw).max() + 1e-9)
    assert float(loss(w)) < first / 4


def test_what_a_neuron_has_not_is_said_by_name(chip):
    raster, w, _ = drawn()

    with pytest.raises(ValueError, match="AdEx has no EventProp gradient; take Surrogate"):
        population(raster, w, AdEx(), gradient=EventProp())

    @pytree
    @dataclass(frozen=True)
    class Ideal(LIF):
        on = Neuron.on

    with pytest.raises(ValueError, match="Ideal has no deviations on a chip"):
        population(raster, w, Ideal(), on_chip(chip, K, N), codes=Codes())


def test_a_surrogate_that_no_step_can_be_compiled_for_is_refused():
    @dataclass
    class Changing:
        slope: float

        def derivative(self, x):
            return jnp.full_like(x, self.slope)

    with pytest.raises(ValueError, match="frozen and hashable one such as .*, got a Changing"):
        Surrogate(Changing(1.0))

    @dataclass(frozen=True)
    class Fixed:
        slope: float

    assert Surrogate(Fixed(1.0)) == Surrogate(Fixed(1.0))
    with pytest.raises(ValueError, match="Fixed.slope is traced"):
        jax.jit(lambda slope: Surrogate(Fixed(slope)) and slope)(1.0)


@pytree
@dataclass(frozen=True)
class Bounded(LIF):
    """A LIF neuron that cannot spike above a membrane of 1.2: an equation of its own."""

    def over(self, state):
        return jnp.where(state.v < 1.2, super().over(state), -1.0)


def test_a_neuron_is_not_taken_for_another_with_as_many_fields():
    # Their hashes need not differ in the bits by which a cache finds what it has compiled.
    assert jax.tree.structure(Bounded()) != jax.tree.structure(LIF())
    back = jax.tree.unflatten(jax.tree.structure(Bounded()), jax.tree.leaves(LIF()))
    assert type(back) is Bounded


class Below:
    """An equation that a class mixes in."""

    def over(self, state):
        return jnp.where(state.v < 1.2, state.v - self.threshold, -1.0)


def mixed():
    @pytree
    @dataclass(frozen=True)
    class Mixed(Below, LIF):
        pass

    return Mixed


def test_a_subclass_with_an_equation_of_its_own_runs_by_it():
    raster, w, _ = drawn()
    mixed()  # as a cell of a notebook that is run again
    seen = (population(raster, 4 * w, neuron).spikes for neuron in (mixed()(), Bounded()))
    np.testing.assert_array_equal(*seen)
    w = 4 * w
    seen = population(raster, w, Bounded(), observe=("membrane",))
    assert (seen.spikes == (seen.membrane > 1.0) * (seen.membrane < 1.2)).all()
    assert 0 < seen.spikes.sum() < population(raster, w, LIF()).spikes.sum()
    with pytest.raises(ValueError, match="Bounded has no EventProp gradient; take Surrogate"):
        population(raster, w, Bounded(), gradient=EventProp())


# --- parameters that are trained


def teacher_forced(nominal, actual, membranes, currents, spikes, slope):
    """The nominal model, drawn to what the chip did after each step: `[T, B, N]` spikes.

    States are the chip's, derivatives the model's: written with stop_gradient and autodiff.
    """

    def through(model, seen):
        return model + lax.stop_gradient(seen - model)

    def step(carry, at):
        v, i = carry
        x, u, current, z = at
        i = i * jnp.exp(-nominal.dt / nominal.tau_syn) + x
        keep = jnp.exp(-nominal.dt / nominal.tau_mem)
        v = through(nominal.leak + (v - nominal.leak) * keep + (1 - keep) * i, u)
        fired = through(spike(v - nominal.threshold, slope), z)
        reset = through(nominal.reset, actual.reset)
        return (jnp.where(z > 0, reset, v), through(i, current)), fired

    def run(drive):
        zero = jnp.zeros(drive.shape[1:])
        rest = zero + through(nominal.leak, actual.leak), zero
        return lax.scan(step, rest, (drive, membranes, currents, spikes))[1]

    return run


def test_parameters_on_a_chip_have_the_gradient_of_the_nominal_model(chip):
    raster, w, _ = drawn()
    circuits = on_chip(chip, K, N)
    names = ("tau_mem", "tau_syn", "leak", "reset", "threshold")
    params = dict(zip(names, map(jnp.float32, (6e-6, 5.7e-6, 0.02, -0.05, 1.0)), strict=True))
    settings = {"codes": Codes(), "gradient": Surrogate(SLOPE), "observe": ("membrane",)}
    dz = jnp.float32(np.random.default_rng(1).normal(size=(T, B, N)))
    z, pull, v = jax.vjp(
        lambda p: (lambda r: (r.spikes, r.membrane))(
            population(raster, w, LIF(**p), circuits, **settings)
        ),
        params, has_aux=True,
    )  # fmt: skip
    # The currents of the chip: an integrator in each synapse's place tells them.
    actual, _ = LIF(**params).on(circuits.neurons)
    strength = jnp.minimum(circuits.strength(), 2.0)
    codes = jnp.clip(jnp.round(60 * w), -63, 63)
    effective = jnp.round(32 * codes * jnp.where(codes > 0, *strength)) / 32
    drive = raster @ effective * jnp.float32(1 / 60)

    def filtered(i, x):
        i = i * jnp.exp(-1e-6 / actual.tau_syn) + x
        return i, i

    currents = lax.scan(filtered, jnp.zeros((B, N)), drive)[1]
    model = lambda p: teacher_forced(LIF(**p), actual, v, currents, z, SLOPE)(drive)  # noqa: E731
    expected = jax.vjp(model, params)[1](dz)[0]
    got = pull(dz)[0]
    for name in names:
        close(got[name], expected[name], rtol=1e-4)
    # Codes alone, and integrators: never zero, and what autodiff of the same says.
    for neuron in (LIF(**params), LI(params["tau_mem"], params["tau_syn"], params["leak"])):
        got, expected = (
            jax.grad(
                lambda n, rule=rule: (
                    lambda r: (dz * (r.membrane if r.spikes is None else r.spikes)).sum()
                )(population(raster, w, n, codes=Codes(), gradient=rule(SLOPE)))
            )(neuron)
            for rule in (Surrogate, Autodiff)
        )
        for name in names:
            if hasattr(neuron, name):
                close(getattr(got, name), getattr(expected, name), rtol=2e-5)


# --- shapes and memory


@pytest.mark.parametrize("steps, batch", [(0, 2), (4, 0)])
@pytest.mark.parametrize("name", often("lif"))
def test_no_samples_and_no_time_give_nothing(chip, name, steps, batch):
    circuits = on_chip(chip, 5, 3)

    def run(w, neuron):
        return population(jnp.ones((steps, batch, 5)), w, neuron, circuits, KEY, codes=Codes())

    neuron = jax.tree.map(jnp.float32, NEURONS[name])
    done, pull = jax.vjp(run, jnp.ones((5, 3)), neuron)
    shape = (done.spikes if NEURONS[name].fires else done.membrane).shape
    assert shape == (steps, batch, 3)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(pull(done)))


def test_every_neuron_may_have_parameters_of_its_own_beyond_a_chips_size():
    raster, w = jnp.ones((3, 2, 6)), jnp.ones((6, 600))
    z = population(raster, w, LIF(tau_mem=jnp.full(600, 6e-6)), codes=Codes()).spikes
    np.testing.assert_array_equal(z, population(raster, w, LIF(), codes=Codes()).spikes)


def test_a_step_of_training_keeps_one_array_of_the_hidden_layer():
    """784 inputs, 256 neurons, T 100, 25 samples: the spikes are not kept for the way back."""
    steps, batch, array = 100, 25, 100 * 25 * 256 * 4
    events = bss2jax.sort_events(
        bss2jax.Events(jnp.zeros((batch, 9), jnp.int32), jnp.zeros((batch, 9), jnp.int32)),
        steps, 784,
    )  # fmt: skip

    def loss(w, v):
        z = population(events, w, LIF()).spikes
        return jnp.square(population(z, v, LI()).membrane).sum()

    step = jax.jit(jax.grad(loss, (0, 1)))
    shapes = jnp.zeros((784, 256)), jnp.zeros((256, 10))
    temporaries = step.lower(*shapes).compile().memory_analysis().temp_size_in_bytes
    # The membranes, the drive that they come from or the spikes, and the gradient of the spikes.
    assert temporaries < 4.2 * array


def test_chips_side_by_side_are_taken_in_turn_on_a_cpu():
    raster, w, _ = drawn()
    w = jnp.tile(w, 8)
    events = bss2jax.sort_events(bss2jax.to_events(raster, T * K), T, K)
    chips = jax.vmap(sample_chip)(jax.random.split(KEY, 4))
    several = (
        jax.vmap(lambda chip: on_chip(chip, *w.shape))(chips),
        jax.random.split(jax.random.key(2), 4),
    )

    def training(circuits, key):
        run = partial(population, events, circuits=circuits, key=key, codes=Codes())
        y, pullback = jax.vjp(lambda w: run(w, LIF()).spikes, w)
        return y, pullback(y)

    first = jax.tree.map(lambda leaf: leaf[0], several)
    one = jax.jit(training).lower(*first).compile()
    all_of_them = jax.jit(jax.vmap(training)).lower(*several).compile()
    got, want = all_of_them(*several), one(*first)
    jax.tree.map(lambda g, w: np.testing.assert_array_equal(g[0], w), got, want)
    # Temporaries of one chip, besides what each leaves: its membranes, its spikes, and thresholds.
    of_one, of_all = (c.memory_analysis().temp_size_in_bytes for c in (one, all_of_them))
    assert of_all < of_one + 3 * got[0].nbytes


@pytest.mark.parametrize("neurons", (pytest.param(16384, marks=pytest.mark.slow), 65536))
def test_a_population_of_any_size_takes_the_memory_of_one_block(chip, neurons):
    """What is beside results and what is given: strengths and membranes of all would be 430 MB."""
    inputs, members, steps, batch = 784, 8, 10, 5
    circuits = jnp.arange(64 * members, dtype=jnp.int32).reshape(64, members)

    def loss(w, chip):
        placed = bss2jax.gather(
            chip, jnp.zeros(neurons, jnp.int32), jnp.tile(circuits, (neurons // 64, 1)),
            inputs=inputs,
        )  # fmt: skip
        sent = jnp.ones((steps, batch, inputs))
        return population(sent, w, LIF(), placed, codes=Codes()).spikes.sum()

    w = jax.ShapeDtypeStruct((inputs, neurons), jnp.float32)
    compiled = jax.jit(jax.grad(loss)).lower(w, chip).compile()
    # Its strengths, gathered and multiplied, and three arrays of its neurons; which circuits each
    # neuron is joined of, their quantities, and the spikes and their gradient, of all.
    width = populations.STRENGTHS // (8 * inputs)
    block = 3 * populations.STRENGTHS + 3 * 4 * steps * batch * width
    each = 4 * (2 * steps * batch + 12 * members)
    assert compiled.memory_analysis().temp_size_in_bytes < block + each * neurons
    assert isinstance(on_chip(chip, 3, 3), OnChips)
