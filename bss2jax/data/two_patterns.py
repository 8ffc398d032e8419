"""Two patterns of spikes, one after the other: was it the first and then the second? Generated.

Each pattern has 32 inputs. A volley is a random half of them, 16 spikes within 1 us or two; the two
volleys of a sample begin 7 to 16 us apart. In half of the samples the first pattern comes before
the second; in the others, as often each, they come the other way round, or one of them comes twice,
with the other half of its inputs. So no input, and no number of spikes, tells the classes apart.

64 values: the time of an input's spike, 1 to 64 us as 0 to 1, and 1 where it has none. 4,000
training and 1,000 test samples; classes `other` and `in order`.

A point neuron whose membrane sums and leaks cannot do it: with a and b what the patterns make of
it, and d < 1 what is left of one when the next comes, the order a d + b would have to exceed both
a d + a, so that b > a, and b d + b, so that a > b.
"""

import numpy as np

from bss2jax.data.dataset import Split

WIDTH, VOLLEY = 32, 16  # inputs of a pattern, and how many of them spike at once
EARLY, LATE = 1e-6, 64e-6  # s, of the values 0 and 1
_JITTER, _GAP, _FIRST = 0.5e-6, (7e-6, 16e-6), (4e-6, 10e-6)
_SEEDS, _SAMPLES = (11, 12), (4000, 1000)
_OTHERS = ((1, 0), (0, 0), (1, 1))


def splits() -> tuple[Split, ...]:
    """Draws the training and the test split, each from its fixed seed: x float32 `[S, 64]`."""
    return tuple(_draw(seed, samples) for seed, samples in zip(_SEEDS, _SAMPLES, strict=True))


def _draw(seed: int, samples: int) -> Split:
    rng = np.random.default_rng(seed)
    x, labels = np.ones((samples, 2 * WIDTH)), np.arange(samples) % 2
    for sample, label in zip(x, labels, strict=True):
        patterns = (0, 1) if label else _OTHERS[rng.integers(len(_OTHERS))]
        halves = rng.permuted(np.tile(np.arange(WIDTH), (2, 1)), axis=1)
        start = rng.uniform(*_FIRST)
        taken = [0, 0]
        for pattern, time in zip(patterns, (start, start + rng.uniform(*_GAP)), strict=True):
            inputs = halves[pattern, taken[pattern] * VOLLEY : (taken[pattern] + 1) * VOLLEY]
            taken[pattern] += 1
            spikes = time + _JITTER * rng.standard_normal(VOLLEY)
            sample[pattern * WIDTH + inputs] = np.maximum((spikes - EARLY) / (LATE - EARLY), 0)
    return Split(x.astype(np.float32), labels.astype(np.int32))
