"""Analog products of any size: blocks of the chip's size, run one after the other.

One `lax.scan` step is a pair of row blocks, and all the column blocks beside them: what the two
hemispheres compute in turn. Noise comes in pairs too, so the even block takes one normal and the
odd block the other. Everything that differs from block to block is a scan input; program size and
compile time do not grow with the number of blocks.

References: hxtorch `perceptron/mac`, grenade `compute/mac.cpp`; Weis et al. 2020, arXiv 2006.13177.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bss2jax.chip.chip import Chip
from bss2jax.chip.substrate import BSS2, Substrate
from bss2jax.kernels import noise
from bss2jax.kernels import readout as vmm
from bss2jax.kernels.dot import dot
from bss2jax.mapping.plan import Placement


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Synapses:
    """A weight as it stands on the arrays: rounded, cut into row blocks, with the chip's strengths.

    Row blocks are kept by parity, which decides the hemisphere. Made by `program`; good for as
    many products as the weight does not change.

    Attributes:
        even, odd: `[R // 2, rows, N]` the row blocks that run in pairs.
        last: `[rows, N]` the last one where their number is odd (only the rows it uses), or None.
    """

    even: jax.Array
    odd: jax.Array
    last: jax.Array | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Columns:
    """What each column does at readout, for row blocks of even and of odd number: `[2, N]`."""

    scale: jax.Array
    offset: jax.Array
    noise_std: jax.Array
    compression: jax.Array | None


def matmul(
    x: jax.Array,
    w: jax.Array | Synapses,
    chip: Chip | None,
    key: jax.Array | None = None,
    *,
    num_sends: int = 1,
    avg: int = 1,
    mask_saturated: bool = False,
    substrate: Substrate = BSS2,
) -> jax.Array:
    """Multiplies activations with weights of any size on the chip.

    Rows are cut into consecutive chunks of 128; per chunk c

        p_c = clip(floor(float32(x_c W_c) * float32(s g) + offset + noise), -128, 127)

    and y = clip(sum of p_c, -128, 127), a saturating digital addition. On a `chip`, W_c carries the
    strengths of its synapses and drivers and each column's gain of negative weights, the scale each
    column's gain; beyond its linear range a membrane saturates softly (`vmm.compress`).

    Backward is what a host with the chip in its loop can know: dx = (g s dy) W^T and
    dW = x^T (g s dy), with the unrounded x and W and without mismatch, noise or floor. Saturation
    does not stop it, as in the reference, unless `mask_saturated`.

    Args:
        x: `[..., K]` activations 0..31, rounded half to even.
        w: `[K, N]` weights -63..63, rounded half to even; or `Synapses` from `program`, which have
            no gradient and cannot be averaged.
        chip: whose fixed pattern applies; None for a perfect chip, at the least cost.
        key: for the trial noise of the chip. None: no noise, and no random numbers
            in the graph.
        num_sends: times each input is sent; multiplies the gain.
        avg: neighbouring columns that carry the same weights and whose mean is taken.
        mask_saturated: let no gradient through a readout or a sum that was clipped.
        substrate: the chip's numbers.

    Returns:
        `[..., N]` float32, LSB, integer-valued (unless `avg` > 1), -128..127.

    Raises:
        ValueError: shapes do not match; outside jit, a value is out of range or not finite. Inside
            jit such values are clipped (`saturation` counts them) and the gradient goes straight
            through.

    References: hxtorch `perceptron/mac`, grenade `compute/mac.cpp`; Weis et al. 2020.
    """
    _check_count("num_sends", num_sends)
    _check_count("avg", avg)
    _check_chip(chip, substrate)
    x = _checked(x, "x", 0, substrate.activation_max)
    settings = _Settings(num_sends, mask_saturated, substrate)
    if isinstance(w, Synapses):
        if avg != 1:
            raise ValueError("avg: repeat the columns before `program`; Synapses are fixed")
        shape = _programmed_shape(w)
        _check_inner(x.shape, shape)
        flat = lax.stop_gradient(x.reshape(-1, x.shape[-1]))
        y, _ = _run(flat, w, shape[1], chip, key, settings)
        return y.reshape(*x.shape[:-1], shape[1])
    matrix = _checked(w, "w", -substrate.weight_max, substrate.weight_max)
    if matrix.ndim != 2:
        raise ValueError(f"w: expected [K, N], got shape {matrix.shape}")
    _check_inner(x.shape, matrix.shape)
    y = _product(settings, x.reshape(-1, x.shape[-1]), jnp.repeat(matrix, avg, axis=1), chip, key)
    y = y.reshape(*x.shape[:-1], matrix.shape[1], avg)
    return y.mean(-1) if avg > 1 else y[..., 0]


def program(w: jax.Array, chip: Chip | None, *, substrate: Substrate = BSS2) -> Synapses:
    """Rounds a weight, cuts it into blocks and gives it the chip's strengths, once.

    For products with a weight that stays, as in evaluation: `matmul(x, program(w, chip), chip)`.

    Args:
        w: `[K, N]` weights -63..63.
        chip: the chip that `matmul` will be given, or None.
        substrate: the chip's numbers.

    Returns:
        `Synapses`.

    Raises:
        ValueError: as `matmul`.
    """
    _check_chip(chip, substrate)
    w = _checked(w, "w", -substrate.weight_max, substrate.weight_max)
    if w.ndim != 2:
        raise ValueError(f"w: expected [K, N], got shape {w.shape}")
    return _program(w, chip, substrate)


def saturation(
    x: jax.Array,
    w: jax.Array,
    chip: Chip | None,
    key: jax.Array | None = None,
    *,
    num_sends: int = 1,
    avg: int = 1,
    substrate: Substrate = BSS2,
) -> dict[str, jax.Array]:
    """Measures what share of the values of a product sits at or beyond a limit of the chip.

    Args: as `matmul`, whose product it repeats with the same noise.

    Returns:
        Shares 0..1, float32 scalars: `inputs` above 31 or below 0, `weights` at or beyond +-63,
        `outputs` of single readouts clipped by the CADC, `sums` clipped by the digital addition.
    """
    x = jnp.asarray(x, jnp.float32)
    w = jnp.repeat(jnp.asarray(w, jnp.float32), avg, axis=1)
    settings = _Settings(num_sends, False, substrate)
    flat = x.reshape(-1, x.shape[-1])
    synapses = _program(lax.stop_gradient(w), chip, substrate)
    _, clipped = _run(flat, synapses, w.shape[1], chip, key, settings, observe=True)
    codes = jnp.round(x)
    shares = {
        "inputs": (codes < 0) | (codes > substrate.activation_max),
        "outputs": clipped.readouts,
        "sums": clipped.sums,
    }
    means = {name: lax.stop_gradient(jnp.mean(s, dtype=jnp.float32)) for name, s in shares.items()}
    return means | {"weights": saturated_weights(w, substrate)}


def saturated_weights(w: jax.Array, substrate: Substrate = BSS2) -> jax.Array:
    """Returns the share of weights at or beyond the limits of a synapse, a float32 scalar."""
    at_limit = jnp.abs(w) >= substrate.weight_max
    return lax.stop_gradient(jnp.mean(at_limit, dtype=jnp.float32))


@dataclass(frozen=True)
class _Settings:
    num_sends: int
    mask_saturated: bool
    substrate: Substrate


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Clipped:
    """Where clipping changed a value: readouts bool `[R, B, N]`, sums bool `[B, N]`."""

    readouts: jax.Array
    sums: jax.Array


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(settings, x, w, chip, key):
    synapses = _program(w, chip, settings.substrate)
    y, _ = _run(x, synapses, w.shape[1], chip, key, settings)
    return y


def _product_forward(settings, x, w, chip, key):
    synapses = _program(w, chip, settings.substrate)
    observe = settings.mask_saturated
    y, clipped = _run(x, synapses, w.shape[1], chip, key, settings, observe=observe)
    return y, (x, w, clipped)


def _product_backward(settings, residuals, dy):
    x, w, clipped = residuals
    dy = dy * vmm.nominal_scale(settings.num_sends, settings.substrate)
    if clipped is None:
        return dot(dy, w.T), dot(x.T, dy), None, None
    dy = jnp.where(clipped.sums, 0, dy)
    rows = min(x.shape[1], settings.substrate.rows)
    blocks = clipped.readouts.shape[0]
    padding = blocks * rows - x.shape[1]
    x_blocks = jnp.pad(x, ((0, 0), (0, padding))).reshape(-1, blocks, rows).swapaxes(0, 1)
    w_blocks = jnp.pad(w, ((0, padding), (0, 0))).reshape(blocks, rows, -1)

    def step(_, block):
        x, w, readouts = block
        masked = jnp.where(readouts, 0, dy)
        return None, (dot(masked, w.T), dot(x.T, masked))

    _, (dx, dw) = lax.scan(step, None, (x_blocks, w_blocks, clipped.readouts))
    dx = dx.swapaxes(0, 1).reshape(x.shape[0], -1)[:, : x.shape[1]]
    return dx, dw.reshape(-1, w.shape[1])[: w.shape[0]], None, None


_product.defvjp(_product_forward, _product_backward)


def _program(w, chip, substrate):
    place = Placement(*w.shape, substrate)
    rows = place.block_shape[0]
    blocks = place.split(vmm.weight_codes(w, substrate))
    # Column blocks side by side: [row blocks, rows, N].
    grid = blocks.reshape(place.column_blocks, place.row_blocks, rows, -1)
    wide = grid.transpose(1, 2, 0, 3).reshape(place.row_blocks, rows, -1)[..., : place.outputs]
    paired = place.row_blocks // 2 * 2
    even, odd = wide[0:paired:2], wide[1:paired:2]
    last = wide[-1, : place.inputs - paired * rows] if place.row_blocks % 2 else None
    if chip is None:
        return Synapses(even, odd, last)
    strength = chip.synapse_gain[:, :, :rows] * chip.driver_gain[:, None, :rows, None]
    excitatory = _lay_out(strength[:, 0], place)
    inhibitory = _lay_out(strength[:, 1] * chip.inhibitory_gain[:, None], place)

    def apply(codes, parity):
        n = codes.shape[-2]
        return codes * jnp.where(codes > 0, excitatory[parity, :n], inhibitory[parity, :n])

    return Synapses(apply(even, 0), apply(odd, 1), None if last is None else apply(last, 0))


def _run(x, synapses, outputs, chip, key, settings, *, observe=False):
    """Runs all blocks and adds up; with `observe` says where values were clipped."""
    substrate = settings.substrate
    codes = vmm.input_codes(x, substrate)
    samples, inputs = codes.shape
    pairs, rows = synapses.even.shape[:2]
    split = 2 * pairs * rows
    padded = jnp.pad(codes, ((0, 0), (0, max(0, split - inputs))))
    grid = padded[:, :split].reshape(samples, pairs, 2, rows)
    scale = vmm.nominal_scale(settings.num_sends, substrate)
    place = Placement(inputs, outputs, substrate)
    columns = None if chip is None else _columns(chip, settings.num_sends, place)
    words = None if key is None or chip is None else _streams(key, pairs + 1)

    def read(x, w, parity, normal):
        if chip is None:
            return vmm.readout(dot(x, w), scale, substrate=substrate)
        disturbance = None if normal is None else columns.noise_std[parity] * normal
        compression = None if columns.compression is None else columns.compression[parity]
        return vmm.readout(
            dot(x, w),
            columns.scale[parity],
            columns.offset[parity],
            disturbance,
            compression,
            substrate=substrate,
        )

    def draw(words):
        return (
            (None, None)
            if words is None
            else noise.normal_pair(words, *noise.grid((samples, outputs)))
        )

    def step(total, block):
        x_even, x_odd, w_even, w_odd, words = block
        normal_even, normal_odd = draw(words)
        p_even, clipped_even = read(x_even, w_even, 0, normal_even)
        p_odd, clipped_odd = read(x_odd, w_odd, 1, normal_odd)
        return total + p_even + p_odd, (clipped_even, clipped_odd) if observe else None

    total = jnp.zeros((samples, outputs), jnp.float32)
    clipped = None
    if pairs:
        x_even, x_odd = (grid[:, :, parity].swapaxes(0, 1) for parity in (0, 1))
        blocks = (x_even, x_odd, synapses.even, synapses.odd, None if words is None else words[:-1])
        total, clipped = lax.scan(step, total, blocks)
    if synapses.last is not None:
        normal, _ = draw(None if words is None else words[-1])
        p, clipped_last = read(codes[:, split:], synapses.last, 0, normal)
        total = total + p
    y = jnp.clip(total, substrate.readout_min, substrate.readout_max)
    # Once: XLA would draw the noise and read out again in each fusion that uses y.
    y = lax.optimization_barrier(y)
    if not observe:
        return y, None
    readouts = [] if clipped is None else [jnp.stack(clipped, 1).reshape(2 * pairs, samples, -1)]
    if synapses.last is not None:
        readouts.append(clipped_last[None])
    return y, _Clipped(jnp.concatenate(readouts), y != total)


def _streams(key: jax.Array, count: int) -> jax.Array:
    return jax.vmap(lambda pair: noise.stream(key, pair))(jnp.arange(count))


def _columns(chip, num_sends, place):
    """Lays the columns of both hemispheres out beside each other, as the blocks' outputs lie."""
    noise_std = jnp.sqrt(chip.noise_std**2 + num_sends * chip.send_noise**2)
    compression = chip.compression
    return _Columns(
        scale=vmm.nominal_scale(num_sends, place.substrate) * _lay_out(chip.column_gain, place),
        offset=_lay_out(chip.offset, place),
        noise_std=_lay_out(noise_std, place),
        compression=None if compression is None else _lay_out(compression, place),
    )


def _lay_out(pattern, place):
    """Repeats a pattern `[H, ..., C]` over column blocks: `[2, ..., N]`, by row-block parity.

    Neighbouring column blocks of one row block meet the same hemisphere where the number of row
    blocks is even, and change between them where it is odd: at most two blocks repeat.
    """
    columns, outputs = place.block_shape[1], place.outputs
    period = min(2, place.column_blocks)
    by_parity = []
    for parity in (0, 1):
        hemispheres = [place.hemisphere(parity, c) for c in range(period)]
        tile = jnp.concatenate([pattern[h, ..., :columns] for h in hemispheres], axis=-1)
        repeats = -(-outputs // (period * columns))
        by_parity.append(jnp.tile(tile, repeats)[..., :outputs])
    # Laid out once: fused into its use, every weight would look up its place again.
    return lax.optimization_barrier(jnp.stack(by_parity))


def _programmed_shape(synapses):
    last = 0 if synapses.last is None else synapses.last.shape[-2]
    pairs, rows, columns = synapses.even.shape
    return 2 * pairs * rows + last, columns


def _check_inner(x_shape, w_shape):
    if not x_shape or x_shape[-1] != w_shape[0]:
        raise ValueError(f"x {x_shape} and w {w_shape} do not fit: the last of x must be K of w")


def _check_count(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")


def _check_chip(chip, substrate):
    if chip is None:
        return
    if not isinstance(chip, Chip):
        raise ValueError(f"chip: expected a Chip or None, got {type(chip).__name__}")
    expected = (substrate.hemispheres, 2, substrate.rows, substrate.columns)
    if chip.synapse_gain.shape != expected:
        raise ValueError(
            f"chip: its synapses are {chip.synapse_gain.shape}, the substrate's {expected}; "
            "map over a stack of chips with jax.vmap"
        )


def _checked(values, name, low, high):
    """Returns float32; where the values are known, refuses what rounds to no code of the chip."""
    if not isinstance(values, jax.core.Tracer):
        # NumPy, as a constant inside jit is known but jax.numpy would trace its minimum.
        known = np.asarray(values, np.float32)
        least, most = (known.min(), known.max()) if known.size else (low, high)
        # Rounded as the codes are: 31.5 would be 32.
        if not (low <= np.rint(least) and np.rint(most) <= high):
            raise ValueError(
                f"{name}: values from {least:g} to {most:g}, expected {low}..{high}; "
                "scale or clip them first"
            )
    return jnp.asarray(values, jnp.float32)
