"""The noise generator: a statistical battery, and proof that the battery has teeth.

Every check is turned into the score |z| of a normal deviate of the same probability and must stay
below 5, which a perfect generator exceeds with probability 5.7e-7. The fast tests take about 2500
scores, so one false alarm in 700 choices of seeds; the seeds are fixed.

What fails for which weak generator (`test_the_battery_refuses_weak_generators` runs them):
- a hash without multiplications, or a low-discrepancy counter (Weyl): bytes and pairs too even or
  lattices, and lines in the spectrum;
- a linear congruence of the counter: serial correlation, spectrum;
- one round instead of two: pairs of neighbours, spectrum;
- one hash for both radius and angle: z0 against z1;
- an axis of the address that is left out: rows against rows;
- streams that start near each other in one sequence: correlation over all lags between streams;
- key material that enters in one round only: words that differ by one bit.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import fft, stats

from bss2jax.kernels import noise

LIMIT = 5.0


def score(p):
    """|z| of a normal deviate that is exceeded, on both sides, with probability p."""
    return float(stats.norm.isf(max(min(p, 1.0), 1e-300) / 2))


def generate(words, shape):
    """Draws two float64 arrays; traced afresh, so that a replaced hash is used."""
    draw = jax.jit(lambda words: noise.normal_pair(words, *noise.grid(shape)))
    pair = draw(jnp.asarray(words, jnp.uint32))
    return [np.asarray(z, np.float64) for z in pair]


def generate_streams(words, shape):
    """As `generate`, for each row of words: two arrays `[streams, B * N]`."""
    draw = jax.jit(jax.vmap(lambda words: noise.normal_pair(words, *noise.grid(shape))))
    pair = draw(jnp.asarray(words, jnp.uint32))
    return [np.asarray(z, np.float64).reshape(len(words), -1) for z in pair]


def squared(z):
    """Centred squares of unit variance: dependence without correlation shows here."""
    return (z**2 - 1) / np.sqrt(2)


# --- the battery of one stream


def moments(name, z):
    # Variances of z, z^2, z^3, z^4 of a normal: 1, 2, 15, 96.
    for power, (mean, variance) in enumerate(((0, 1), (1, 2), (0, 15), (3, 96)), start=1):
        deviation = (z**power).mean() - mean
        yield f"moment {power} of {name}", abs(deviation) * np.sqrt(z.size / variance)


def tails(name, z):
    for k in (3, 4, 5):
        for side, count in (("above", (z > k).sum()), ("below", (z < -k).sum())):
            expected = z.size * stats.norm.sf(k)
            p = 2 * min(stats.poisson.cdf(count, expected), stats.poisson.sf(count - 1, expected))
            yield f"count of {name} {side} {k} sigma", score(p)


def uniform_bits(name, u):
    """The first 16 bits, and pairs of first bytes of neighbours, of what should be uniform."""
    yield f"KS of {name}", score(stats.kstest(u, "uniform", method="asymp").pvalue)
    words = np.minimum((u * 2**16).astype(np.int64), 2**16 - 1)
    high = words >> 8
    pairs = high[0::2] * 256 + high[1::2]
    for bits, values, bins in (
        ("first byte", high, 2**8),
        ("second byte", words & 255, 2**8),
        ("16 bits", words, 2**16),
        ("pairs of bytes", pairs, 2**16),
    ):
        counts = np.bincount(values, minlength=bins)
        chi2 = ((counts - values.size / bins) ** 2).sum() / (values.size / bins)
        # Too even is as suspicious as too uneven.
        p = 2 * min(stats.chi2.sf(chi2, bins - 1), stats.chi2.cdf(chi2, bins - 1))
        yield f"{bits} of {name}", score(p)


def histogram(name, a, b, bins=64):
    """Chi-square of a 2-D histogram in cells of equal probability."""
    cells = (bins * stats.norm.cdf(a)).astype(int) * bins + (bins * stats.norm.cdf(b)).astype(int)
    counts = np.bincount(cells, minlength=bins**2)
    chi2 = ((counts - a.size / bins**2) ** 2).sum() / (a.size / bins**2)
    p = 2 * min(stats.chi2.sf(chi2, bins**2 - 1), stats.chi2.cdf(chi2, bins**2 - 1))
    yield f"histogram of {name}", score(p)


def correlations(name, a, b):
    for kind, f, g in (
        ("values", a, b),
        ("squares", squared(a), squared(b)),
        ("value and square", a, squared(b)),
    ):
        yield f"correlation of {name}, {kind}", abs(f @ g) / np.sqrt(f.size)


def spectrum(name, z):
    """Periodogram ordinates of white noise are independent exponentials."""
    power = np.abs(fft.rfft(z)[1:-1]) ** 2 / z.size
    p_max = -np.expm1(power.size * np.log1p(-np.exp(-power.max())))
    yield f"largest line of {name}", score(p_max)
    yield f"spectrum of {name}", score(stats.kstest(power, "expon", method="asymp").pvalue)


def battery(z0, z1):
    """Returns the scores of all checks of two arrays `[B, N]`."""
    columns = z0.shape[1]
    arrays = {"z0": z0.ravel(), "z1": z1.ravel()}
    scores = {}
    for name, z in arrays.items():
        scores |= dict(moments(name, z)) | dict(tails(name, z))
        scores[f"KS of {name}"] = score(stats.kstest(z, "norm", method="asymp").pvalue)
        scores |= dict(histogram(f"neighbours in {name}", z[0::2], z[1::2]))
        even, odd = (z.reshape(-1, columns)[start::2].ravel() for start in (0, 1))
        scores |= dict(histogram(f"rows of {name}", even, odd))
        scores |= dict(spectrum(name, z)) | dict(spectrum(f"{name} squared", squared(z)))
        for lag in (1, 2, 3, 16, 256, columns - 1, columns, columns + 1, 2 * columns, z.size // 2):
            scores |= dict(correlations(f"{name} at lag {lag}", z[lag:], z[:-lag]))
    for lag in (0, 1, 2, columns):
        a, b = arrays["z0"][lag:], arrays["z1"][: z0.size - lag]
        scores |= dict(correlations(f"z0 and z1 at lag {lag}", a, b))
    scores |= dict(histogram("z0 and z1", arrays["z0"], arrays["z1"]))
    angle = np.arctan2(arrays["z1"], arrays["z0"]) / (2 * np.pi) + 0.5
    radius = np.exp(-(arrays["z0"] ** 2 + arrays["z1"] ** 2) / 2)
    scores |= dict(uniform_bits("the angle", angle % 1)) | dict(uniform_bits("the radius", radius))
    return scores


# --- the battery of many streams


def streams_battery(z0, z1):
    """Returns the scores of checks between streams `[streams, n]`."""
    n = z0.shape[1]
    values = np.concatenate([z0, z1])
    # A stream's own z0 and z1 are independent too: all pairs count.
    upper = np.triu_indices(len(values), 1)
    scores = {}
    for kind, z in (("values", values), ("squares", squared(values))):
        r = (z @ z.T)[upper] / np.sqrt(n)
        scores[f"largest correlation of {kind}"] = score(2 * stats.norm.sf(abs(r).max()) * r.size)
        chi2 = (r**2).sum()
        p = 2 * min(stats.chi2.sf(chi2, r.size), stats.chi2.cdf(chi2, r.size))
        scores[f"all correlations of {kind}"] = score(p)
    # Sequences that overlap anywhere: the correlation of neighbouring streams over all lags.
    for kind, z in (("z0", z0), ("z1", z1), ("radius", (z0**2 + z1**2) / 2 - 1)):
        transform = fft.rfft(z)
        lagged = fft.irfft(transform[1:] * transform[:-1].conj()) / np.sqrt(n)
        p = 2 * stats.norm.sf(abs(lagged).max()) * lagged.size
        scores[f"largest lagged correlation of {kind}"] = score(p)
    return scores


def collisions(z0, z1):
    """Counts pairs (z0, z1) that occur more than once, bit for bit."""
    pairs = (z0 + 1j * z1).astype(np.complex64).ravel().view(np.int64)
    return pairs.size - np.unique(pairs).size


def failures(scores):
    assert all(np.isfinite(value) for value in scores.values())
    return {name: value for name, value in scores.items() if value >= LIMIT}


def key_words(keys):
    return np.stack([noise.stream(key) for key in keys])


def flipped_key(bit):
    """A key whose 64 bits of data differ from key 5's in one."""
    data = np.array(jax.random.key_data(jax.random.key(5)))
    data[bit // 32] ^= np.uint32(1 << bit % 32)
    return jax.random.wrap_key_data(jnp.asarray(data))


KEY = jax.random.key(0)
STREAMS = {
    "streams of one key": lambda n: np.stack([noise.stream(KEY, i) for i in range(n)]),
    "streams of two ids": lambda n: np.stack([noise.stream(KEY, i % 7, i // 7) for i in range(n)]),
    "consecutive keys": lambda n: key_words(jax.random.key(i) for i in range(n)),
    "folded keys": lambda n: key_words(jax.random.fold_in(jax.random.key(3), i) for i in range(n)),
    "split keys": lambda n: key_words(jax.random.split(jax.random.key(4), n)),
    "keys that differ by one bit": lambda n: key_words(flipped_key(i % 64) for i in range(n)),
}


# --- the tests


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_one_stream_passes_the_battery(seed):
    words = noise.stream(jax.random.key(seed))
    assert failures(battery(*generate(words, (1024, 1024)))) == {}


def test_a_stream_of_odd_shape_passes_the_battery():
    words = noise.stream(jax.random.key(2))
    assert failures(battery(*generate(words, (2000, 101 * 2)))) == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_long_stream_passes_the_battery(seed):
    words = noise.stream(jax.random.key(100 + seed))
    assert failures(battery(*generate(words, (4096, 4096)))) == {}


@pytest.mark.slow  # millions of numbers; neighbours are tested in every run
@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_independent(name):
    words = np.asarray(STREAMS[name](48))
    assert words.dtype == np.uint32 and words.shape == (48, 4)
    z0, z1 = generate_streams(words, (16, 1024))
    assert failures(streams_battery(z0, z1)) == {}
    # About 2^50 different pairs: 2^19.6 draws collide with probability 3e-4, twice with 4e-8.
    assert collisions(z0, z1) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
def test_many_long_streams_are_independent(name):
    z0, z1 = generate_streams(np.asarray(STREAMS[name](64)), (64, 4096))
    assert failures(streams_battery(z0, z1)) == {}


@pytest.mark.parametrize("name", STREAMS)
def test_no_two_streams_share_a_word(name):
    # 48 words of 32 bits: P = 3e-7 for each of the four. No bit of them is the same in all.
    words = np.asarray(STREAMS[name](48))
    for word in words.T:
        assert len(np.unique(word)) == 48
        assert np.bitwise_or.reduce(word) & ~np.bitwise_and.reduce(word) == 2**32 - 1


def related(words, others, n):
    """Scores of the dependence of one stream on each of the others, counter by counter."""
    z0, z1 = generate_streams(np.concatenate([words[None], others]), (n,))
    radius = (z0**2 + z1**2) / 2 - 1
    arrays = (z0, z1, squared(z0), squared(z1), radius)
    return {
        (f, g): float((np.abs(b[1:] @ a[0]) / np.sqrt(n)).max())
        for f, a in enumerate(arrays)
        for g, b in enumerate(arrays)
    }


@pytest.mark.parametrize("halves", [(0, 2), (1, 3)])
def test_words_that_differ_by_one_bit_or_by_one_give_unrelated_streams(halves):
    # In one word of the radius and the same one of the angle: otherwise the other of the two is
    # the same by construction. Words 0 and 2 shift the counter, so the lag is 0 here.
    words = np.asarray(noise.stream(jax.random.key(6)))
    others = np.repeat(words[None], 34, axis=0)
    for word in halves:
        for bit in range(32):
            others[bit, word] ^= np.uint32(1 << bit)
        others[32, word] += np.uint32(1)
        others[33, word] -= np.uint32(1)
    assert failures(related(words, others, 2**16)) == {}


def test_streams_whose_counters_overlap_are_unrelated_at_their_lag():
    # Same word 0 and 2, random others: such streams meet the same counters. Rare (P about
    # 2 B N / 2^32 for two streams), so it must not show when it happens.
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**32, 4, dtype=np.uint32)
    others = np.repeat(words[None], 60, axis=0)
    others[:, [1, 3]] = rng.integers(0, 2**32, (60, 2), dtype=np.uint32)
    assert failures(related(words, others, 2**16)) == {}


def test_the_values_are_those_of_box_and_muller():
    words = noise.stream(KEY)
    z0, z1 = generate(words, (128 * 1024,))
    counter = jnp.arange(128 * 1024, dtype=jnp.uint32)
    first, second = (np.asarray(noise._hash(counter, words[i], words[i + 1])) for i in (0, 2))
    u = (first >> 1) * 2.0**-31 + 2.0**-32
    # float32 holds u to 2^-24, which near u = 1 is all there is of the radius squared.
    np.testing.assert_allclose((z0**2 + z1**2) / 2, -np.log(u), rtol=2e-6, atol=2.0**-23)
    turn = np.arctan2(z1, z0) / (np.pi / 2) - second / 2.0**30  # a bijection within quadrants
    assert np.abs(turn - np.rint(turn)).max() < 2e-6


@pytest.mark.parametrize("bits", [0, 1, 2**31, 2**32 - 1])
def test_the_largest_possible_value_is_finite_and_below_6_7(monkeypatch, bits):
    monkeypatch.setattr(
        noise, "_hash", lambda counter, word, _: (counter ^ word) * 0 + np.uint32(bits)
    )
    z0, z1 = generate(np.zeros(4, np.uint32), (2, 2))
    radius = np.hypot(z0, z1)
    assert np.isfinite(radius).all()
    if bits < 2:  # the last of 2^31 radii, sqrt(2 ln 2^32) = 6.66
        np.testing.assert_allclose(radius, np.sqrt(64 * np.log(2)), rtol=1e-6)
    assert (radius < 6.7).all()


def test_uniform_numbers_lie_inside_0_and_1_and_fill_it():
    words = noise.stream(jax.random.key(7))
    u = np.asarray(
        jax.jit(lambda words: noise.uniform(words, *noise.grid((1024, 512))))(words), np.float64
    )
    assert 0 < u.min() and u.max() < 1
    assert failures(dict(uniform_bits("the uniform", u.ravel()))) == {}


@pytest.mark.parametrize("bits", [0, 2**32 - 1])
def test_the_ends_of_the_uniform_numbers_are_excluded(monkeypatch, bits):
    monkeypatch.setattr(
        noise, "_hash", lambda counter, word, _: (counter ^ word) * 0 + np.uint32(bits)
    )
    u = float(noise.uniform(jnp.zeros(4, jnp.uint32)))
    assert 0 < u < 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_along_every_axis_of_an_address_pass_the_battery(axis):
    pair = generate(noise.stream(jax.random.key(8)), (64, 128, 128))
    z0, z1 = (np.moveaxis(z, axis, -1).reshape(-1, z.shape[axis]) for z in pair)
    assert failures(battery(z0, z1)) == {}


def test_a_number_depends_on_its_address_alone():
    words = noise.stream(jax.random.key(9))
    whole = generate(words, (6, 50, 40))
    step, sample, column = noise.grid((6, 50, 40))
    draw = lambda *address: np.asarray(noise.normal_pair(words, *address)[0], np.float64)  # noqa: E731
    z = np.asarray(jax.jit(lambda w: noise.normal_pair(w, step, sample, column)[0])(words))
    np.testing.assert_array_equal(z, whole[0])
    # Half of a batch, one sample, some columns in another order: the numbers of their places.
    cut = jax.jit(lambda sample, column: noise.normal_pair(words, step, sample, column)[0])
    np.testing.assert_array_equal(cut(sample[:, 25:], column), whole[0][:, 25:])
    np.testing.assert_array_equal(cut(sample[:, 7:8], column), whole[0][:, 7:8])
    order = np.random.default_rng(0).permutation(40)[:13].astype(np.int32)
    np.testing.assert_array_equal(cut(sample, order), whole[0][..., order])
    half = jax.jit(lambda first: noise.normal_pair(words, *noise.grid((25, 40), first)))
    rows = jax.jit(lambda w: noise.normal_pair(w, *noise.grid((50, 40))))(words)
    np.testing.assert_array_equal(half(25)[1], rows[1][25:])
    # Op by op there are no fused multiplications and additions: the last bit may differ.
    np.testing.assert_allclose(draw(step, sample, column), whole[0], rtol=0, atol=4e-6)


def test_halves_of_a_batch_and_addresses_with_an_axis_more_are_independent():
    words = noise.stream(jax.random.key(10))
    z0, z1 = generate(words, (512, 256))
    flat = generate(words, (512 * 256,))
    for f, name in ((z0, "z0"), (z1, "z1")):
        assert failures(dict(correlations(name, f[:256].ravel(), f[256:].ravel()))) == {}
        assert failures(dict(correlations(name, f.ravel(), flat[0]))) == {}


def test_a_stream_does_not_depend_on_how_jax_makes_bits():
    words = np.asarray(noise.stream(KEY, 3))
    with jax.threefry_partitionable(not jax.config.jax_threefry_partitionable):
        np.testing.assert_array_equal(noise.stream(jax.random.key(0), 3), words)
    np.testing.assert_array_equal(noise.stream(jax.random.PRNGKey(0), 3), words)
    np.testing.assert_array_equal(noise.stream(jax.random.key(0, impl="rbg"), 3), words)
    numbers = jnp.arange(4)
    np.testing.assert_array_equal(jax.vmap(lambda i: noise.stream(KEY, i))(numbers)[3], words)


# --- the teeth


def no_multiplications(counter, word0, word1):
    x = counter + word0
    x = x ^ (x >> 16) ^ word1
    x = x ^ (x >> 15)
    return x ^ (x >> 16)


def linear_congruence(counter, word0, word1):
    return (counter + word0) * jnp.uint32(1664525) + (jnp.uint32(1013904223) ^ word1)


def weyl_sequence(counter, word0, word1):
    return counter * jnp.uint32(0x9E3779B9) + word0 + word1


def one_round(counter, word0, word1):
    x = (counter + word0) ^ word1
    return (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)


def one_hash_for_both(counter, word0, word1, hash=noise._hash):
    return hash(counter, word0 * 0, word1 * 0)


def streams_start_near(counter, word0, word1, hash=noise._hash):
    return hash(counter + (word0 & jnp.uint32(4095)), word0 * 0, word1 * 0 + 1)


def words_enter_one_round(counter, word0, word1):
    x = counter + word0
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = x ^ word1
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


@pytest.mark.parametrize(
    ("weak", "check"),
    [
        (no_multiplications, "first byte of the radius"),
        (linear_congruence, "largest line of z0"),
        (weyl_sequence, "pairs of bytes of the angle"),
        (one_round, "histogram of neighbours in z0"),
        (one_hash_for_both, "histogram of z0 and z1"),
    ],
)
def test_the_battery_refuses_weak_generators(monkeypatch, weak, check):
    monkeypatch.setattr(noise, "_hash", weak)
    words = noise.stream(KEY)
    failed = failures(battery(*generate(words, (512, 512))))
    assert check in failed, f"passed what it should not; failed only {sorted(failed)}"


@pytest.mark.parametrize("left_out", [0, 1])
def test_the_battery_refuses_an_axis_that_is_left_out(monkeypatch, left_out):
    kept = slice(1, None) if left_out == 0 else slice(0, 1)
    full = noise.normal_pair
    monkeypatch.setattr(
        noise,
        "normal_pair",
        lambda words, *axes: [z + jnp.zeros((512, 512)) for z in full(words, *axes[kept])],
    )
    failed = failures(battery(*generate(noise.stream(KEY), (512, 512))))
    assert f"correlation of z0 at lag {(512, 1)[left_out]}, values" in failed


def test_the_battery_refuses_streams_that_overlap(monkeypatch):
    monkeypatch.setattr(noise, "_hash", streams_start_near)
    words = np.asarray(STREAMS["consecutive keys"](16))
    z0, z1 = generate_streams(words, (16 * 1024,))
    failed = failures(streams_battery(z0, z1))
    assert "largest lagged correlation of radius" in failed
    # No one lag of zero gives them away.
    assert "largest correlation of values" not in failed
    monkeypatch.setattr(noise, "_hash", one_hash_for_both)
    assert collisions(*generate_streams(words, (16 * 1024,))) > 1000


def test_the_battery_refuses_words_that_enter_one_round_only(monkeypatch):
    monkeypatch.setattr(noise, "_hash", words_enter_one_round)
    words = np.asarray(noise.stream(jax.random.key(6)))
    other = words ^ np.array([0, 1, 0, 1], np.uint32)
    assert max(related(words, other[None], 2**16).values()) > 50
