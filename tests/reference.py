"""Plain NumPy twins of the kernels, written from the published equations alone.

A block is one range of 128 rows and 256 columns; blocks are visited in the order of the chip
(columns outer, rows inner) and lie on hemisphere block % 2. A chip is a dict of float64 arrays:
`synapse` [2, 2, 128, 256], `driver` [2, 128], `gain`, `offset`, `inhibitory` and `compression`
[2, 256]. Everything is float64 or exact, but for the one float32 scaling that the equations
prescribe.
"""

import itertools

import numpy as np

ROWS, COLUMNS, GAIN = 128, 256, 0.002
UNIT = 2.0**-24  # half a unit in the last place of 1.0 in float32


def pattern(chip):
    """Returns the fixed pattern of a chip of the package as the twins take it."""
    arrays = {
        "synapse": chip.synapse_gain,
        "driver": chip.driver_gain,
        "gain": chip.column_gain,
        "offset": chip.offset,
        "inhibitory": chip.inhibitory_gain,
        "compression": np.zeros(chip.offset.shape)
        if chip.compression is None
        else chip.compression,
    }
    return {name: np.asarray(array, np.float64) for name, array in arrays.items()}


def codes(x, w):
    """Rounds half to even; a value that has no code is an error."""
    x, w = np.rint(np.asarray(x, np.float64)), np.rint(np.asarray(w, np.float64))
    if not ((x >= 0) & (x <= 31)).all() or not (np.abs(w) <= 63).all():
        raise ValueError("out of range")
    return x, w


def blocks(inputs, outputs):
    """Yields (rows, columns, hemisphere) of each block, in the chip's order."""
    number = 0
    for column in range(0, outputs, COLUMNS):
        for row in range(0, inputs, ROWS):
            yield (
                slice(row, min(row + ROWS, inputs)),
                slice(column, min(column + COLUMNS, outputs)),
                number % 2,
            )
            number += 1


def effective(w_block, excitatory, inhibitory, unit=32):
    """Codes times the strength of their sign, cut at 2, in multiples of 1/32 LSB.

    In float32, as a strength on the edge between two multiples must fall to the same side.
    """
    strength = np.where(w_block > 0, excitatory, inhibitory).astype(np.float32)
    product = w_block.astype(np.float32) * np.clip(strength, -2, 2)
    return (np.rint(product * np.float32(unit)) / unit).astype(np.float64)


def piece_voltage(x, w, chip, h, num_sends=1, unit=32):
    """Membrane voltages of one block on hemisphere h, and a bound of their float32 error, `[B, N]`.

    `float32(x W) * float32(s g)`, times the column's gain, is what a float32 machine computes, as
    x W is exact: the bound is 0. An offset adds one rounding of the voltage, and compression (a
    function of slope 1 or less) five of what it is given: up to 6 u |voltage|, with u = 2^-24.
    """
    (n, width), scale = w.shape, np.float32(num_sends * GAIN)
    strength = chip["synapse"][h, :, :n, :width].astype(np.float32)
    strength = strength * chip["driver"][h, :n, None].astype(np.float32)
    inhibitory = strength[1] * chip["inhibitory"][h, :width].astype(np.float32)
    gain, offset = chip["gain"][h, :width].astype(np.float32), chip["offset"][h, :width]
    compression = chip["compression"][h, :width]
    product = x @ effective(w, strength[0], inhibitory, unit)
    assert (product == product.astype(np.float32)).all()
    scaled = (product.astype(np.float32) * (scale * gain)).astype(np.float64)
    roundings = 5 * (compression != 0) * (np.abs(scaled) > 80) + (offset != 0)
    error = UNIT * roundings * (np.abs(scaled) + np.abs(offset))
    return compress(scaled, compression) + offset, error


def voltages(x, w, chip=None, num_sends=1):
    """Membrane voltage of every readout before floor, and a bound of its float32 error.

    Returns:
        Two arrays `[row blocks, B, N]`.
    """
    x, w = codes(x, w)
    shape = (-(-w.shape[0] // ROWS), x.shape[0], w.shape[1])
    voltage, error = np.zeros(shape), np.zeros(shape)
    for rows, columns, h in blocks(*w.shape):
        place = (rows.start // ROWS, slice(None), columns)
        x_block, w_block = x[:, rows], w[rows, columns]
        if chip is None:
            scale = np.float32(num_sends * GAIN)
            voltage[place] = (x_block @ w_block).astype(np.float32) * scale
        else:
            voltage[place], error[place] = piece_voltage(x_block, w_block, chip, h, num_sends)
    return voltage, error


def compress(voltage, compression):
    """Beyond 80 LSB on either side, an excess e becomes e / (1 + c e)."""
    size = np.abs(voltage)
    beyond = 80 + (size - 80) / (1 + compression * np.maximum(size - 80, 0))
    return np.sign(voltage) * np.where(size > 80, beyond, size)


def readout(voltage, noise=0.0):
    """The CADC: floor of the voltage and a given noise, clipped to 8 bit."""
    return np.clip(np.floor(voltage + noise), -128, 127)


def matmul(x, w, chip=None, num_sends=1, noise=0.0):
    """The analog product of any size; `noise` is given, `[row blocks, B, N]` LSB."""
    voltage, _ = voltages(x, w, chip, num_sends)
    return np.clip(readout(voltage, noise).sum(0), -128, 127)


def uncertain(x, w, chip, num_sends=1):
    """How many readouts of each output lie so near a floor's edge that float32 may flip them."""
    voltage, error = voltages(x, w, chip, num_sends)
    return (np.abs(voltage - np.rint(voltage)) <= error).sum(0)


def matmul_backward(x, w, dy, num_sends=1, chip=None, masked=False):
    """dx = (g s dy) W^T and dW = x^T (g s dy) with unrounded x, W; `masked`: 0 where clipped."""
    x, w, dy = (np.asarray(a, np.float64) for a in (x, w, dy))
    dy = dy * (num_sends * GAIN)
    gates = np.ones((-(-len(w) // ROWS), *dy.shape))
    if masked:
        voltage, _ = voltages(x, w, chip, num_sends)
        read = np.floor(voltage)
        total = readout(voltage).sum(0)
        gates = ((read >= -128) & (read <= 127)) & ((total >= -128) & (total <= 127))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, gate in enumerate(gates):
        rows = slice(i * ROWS, (i + 1) * ROWS)
        dx[:, rows] = (gate * dy) @ w[rows].T
        dw[rows] = x[:, rows].T @ (gate * dy)
    return dx, dw


def relu(y):
    return np.clip(np.floor(y), 0, 127)


def converting_relu(y, shift):
    return np.clip(np.floor(relu(y) / 2**shift), 0, 31)


def add(a, b):
    def int8(y):
        return np.clip(np.floor(y), -128, 127)

    return int8(int8(a) + int8(b))


def convolve(x, w, product, stride, pads, dilation, groups=1):
    """A convolution, position by position: `product(patches [B, K], matrix [K, N])`.

    Args:
        x: `[B, *size, C]`.
        w: `[*window, C / groups, N]`.
        product: what multiplies the patches of all positions with the matrix of a group.
        stride, dilation: one number an axis.
        pads: one pair (before, after) an axis.
        groups: shares of the channels, one after the other.

    Returns:
        `[B, *positions, N]`.
    """
    *window, channels, outputs = w.shape
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    positions = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, s, d in zip(x.shape[1:-1], window, stride, dilation)
    ]
    results = []
    for group in range(groups):
        patches, matrix = [], []
        for c in range(channels):  # channel outermost, then the window
            for tap in itertools.product(*(range(k) for k in window)):
                span = tuple(
                    slice(t * d, t * d + (n - 1) * s + 1, s)
                    for t, d, n, s in zip(tap, dilation, positions, stride)
                )
                patches.append(x[(slice(None), *span, group * channels + c)])
                share = slice(group * outputs // groups, (group + 1) * outputs // groups)
                matrix.append(w[(*tap, c, share)])
        vectors = np.stack(patches, -1).reshape(-1, len(patches))
        y = product(vectors, np.stack(matrix))
        results.append(y.reshape(len(x), *positions, -1))
    return np.concatenate(results, -1)


def expanded_conv1d(x, w, product, stride, pads):
    """A 1-D convolution with min(256 // N, (128 - kernel) // stride + 1) kernels side by side.

    Row c * span + t of the matrix is tap t of channel c; copy i begins i * stride taps later and
    takes columns i * N and on. One vector covers as many positions as there are copies.

    Args:
        x: `[B, L, C]`.
        w: `[k, C, N]`.
        product: as in `convolve`.
        stride: one number.
        pads: (before, after).
    """
    taps, channels, outputs = w.shape
    copies = min(COLUMNS // outputs, (ROWS - taps * channels) // (stride * channels) + 1)
    span = taps + (copies - 1) * stride
    matrix = np.zeros((channels * span, copies * outputs))
    for c, t, i in itertools.product(range(channels), range(taps), range(copies)):
        matrix[c * span + i * stride + t, i * outputs : (i + 1) * outputs] = w[t, c]
    x = np.pad(x, [(0, 0), pads, (0, 0)])
    positions = (x.shape[1] - taps) // stride + 1
    x = np.pad(x, [(0, 0), (0, span + positions * stride), (0, 0)])
    y = []
    for first in range(0, positions, copies):
        vector = x[:, first * stride : first * stride + span].swapaxes(1, 2).reshape(len(x), -1)
        y.append(product(vector, matrix).reshape(len(x), copies, outputs))
    return np.concatenate(y, 1)[:, :positions]
