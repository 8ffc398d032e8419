"""Analog products of any size: blocks of the chip's size, run one after the other.

Sums are exact (`kernels.readout.fraction_bits`) and noise has addresses, so a product is the same,
bit by bit, eager or compiled, whole or cut, in batches or sample by sample, on any plan that puts
blocks on the same arrays. `execute.weights` has weights and their gradient, `execute.blocks` runs
the blocks, `execute.stripes` lays the pattern out.

References: hxtorch `perceptron/mac`, grenade `compute/mac.cpp`; Weis et al. 2020, arXiv 2006.13177.
"""

from typing import Any

import jax
from jax.typing import ArrayLike

from bss2jax import arrays
from bss2jax.arrays import count
from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.execute import entrance
from bss2jax.execute.blocks import Settings
from bss2jax.execute.stripes import Place
from bss2jax.execute.weights import Programmed, floats, weight_of
from bss2jax.kernels.gradients.nominal import without_gradient


def matmul(
    x: ArrayLike,
    w: ArrayLike | Programmed,
    chip: Chip | None,
    key: jax.Array | None = None,
    *,
    sample: ArrayLike = 0,
    num_sends: int = 1,
    avg: int = 1,
    mask_saturated: bool = False,
    observe: bool = False,
    place: Place = None,
    substrate: Substrate = BSS2,
) -> Any:
    """Multiplies activations with weights of any size on the chip.

    Rows are cut into consecutive chunks of 128; per chunk c

        p_c = clip(floor(float32(x_c W_c) * float32(s g) + offset + noise), -128, 127)

    and y = clip(sum of p_c, -128, 127), a saturating digital addition; what a `chip` does to W_c
    and to p_c, and which noise it has, is in the signal chain.

    Backward is what a host with the chip in its loop can know: dx = (g s dy) W^T and
    dW = x^T (g s dy), with the unrounded x and W and without mismatch, noise or floor. Saturation
    does not stop it, as in the reference, unless `mask_saturated`.

    Args:
        x: `[B, ..., K]` activations 0..31, rounded half to even.
        w: `[K, N]` weights -63..63, rounded half to even; or `Programmed` by `program`, which has
            no gradient and cannot be averaged.
        chip: the chip whose fixed pattern applies; None for a perfect chip, at the least cost. With
            `place` also a stack of chips, their number in front.
        key: the random key for trial noise. None: no noise, and no random numbers in the graph.
        sample: number of the first sample of x, by which noise is drawn.
        num_sends: times each input is sent; multiplies the gain.
        avg: neighbouring columns that carry the same weights and whose mean is taken.
        mask_saturated: let no gradient through a readout or a sum that was clipped.
        observe: also return what saturated.
        place: the place where the blocks are, from a plan, or as `[R, C]` numbers of the chip and
            the array of each block; by default in the published order on one chip.
        substrate: the chip's numbers.

    Returns:
        `[B, ..., N]` float32, LSB, integer-valued (unless `avg` > 1), -128..127. With `observe` a
        pair: this, and the shares that `saturation` returns (without `weights` if programmed).

    Raises:
        ValueError: shapes do not match; outside jit, and unless `observe` counts them, values are
            out of range or not finite. Inside jit such values are clipped, and the gradient goes
            straight through.
        TypeError: the chip, or the input of a `Programmed` weight, is differentiated; or, with
            `mask_saturated`, the product twice; or in forward mode.
    """
    num_sends, avg = count("num_sends", num_sends), count("avg", avg)
    activations = entrance.values(x, "x", 0, substrate.activation_max, clipped=observe)
    settings = Settings(num_sends, mask_saturated, observe, substrate)
    held, first = weight_of(w, place, substrate, clipped=observe), arrays.wholes(sample, "sample")
    y, shares = held.analog_product(settings, activations, chip, key, first, avg)
    return (y, shares) if observe else y


def program(
    w: ArrayLike,
    chip: Chip | None,
    *,
    place: Place = None,
    substrate: Substrate = BSS2,
) -> Programmed:
    """Rounds a weight, cuts it into blocks and gives it the chip's strengths, once.

    For products with a weight that stays, as in evaluation: `matmul(x, program(w, chip), chip)`.

    Args:
        w: `[K, N]` weights -63..63.
        chip: the chip, or chips, that `matmul` will be given, or None.
        place: the place where the blocks are, from a plan; by default in the published order on one
            chip.
        substrate: the chip's numbers.

    Raises:
        ValueError: as `matmul`.
    """
    return floats(w, place, substrate).programmed(chip, substrate)


def saturation(
    x: ArrayLike,
    w: ArrayLike,
    chip: Chip | None,
    key: jax.Array | None = None,
    **settings: Any,
) -> dict[str, jax.Array]:
    """Measures what share of the values of a product sits at or beyond a limit of the chip.

    What `matmul(..., observe=True)` returns beside its product.

    Args:
        x, w, chip, key, settings: as in `matmul`.

    Returns:
        Shares 0..1, float32 scalars: `inputs` above 31 or below 0, `weights` at or beyond +-63,
        `outputs` of single readouts clipped by the CADC, `sums` clipped by the digital addition.
    """
    if not hasattr(w, "analog_product"):
        w = without_gradient(arrays.floats(w, "w"), "w of counts of what saturates")
    x = without_gradient(arrays.floats(x, "x"), "x of counts of what saturates")
    return matmul(x, w, chip, key, observe=True, **settings)[1]
