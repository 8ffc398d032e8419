"""What the plasticity processors take for a visit of the synapse array.

They go through the array row by row, both of them side by side, each through half of the columns.

References: model code of Cramer et al. 2023, arXiv 2208.08329 (256 rows and counters in 475 us of
a period of 1 ms); brainscales2-demos ts_07 (2.5 ms for 100 rows, 7 ms for 250, read through the
CADC, the host's part included).
"""

from bss2jax.chip.substrate import BSS2, Substrate

WRITTEN = 475e-6 / 256  # s a row: counters and weights are read, weights written
CORRELATED = 28e-6  # s a row whose correlation is read, too


def visit(rows: int, correlates: bool) -> float:
    """Returns the time that the processors take for some rows, s.

    Args:
        rows: how many are visited.
        correlates: whether their correlation sensors are read.
    """
    return rows * (CORRELATED if correlates else WRITTEN)


def check_period(
    period: float, rows: int, correlates: bool, *, substrate: Substrate = BSS2
) -> float:
    """Returns what share of a period the processors are busy.

    Args:
        period: s.
        rows: how many are visited in it.
        correlates: whether their correlation sensors are read.
        substrate: the substrate whose rows there are at most.

    Raises:
        ValueError: the period is too short, or the chip has fewer rows.
    """
    if rows > 2 * substrate.rows:
        raise ValueError(f"the processors visit {rows} rows, the array has {2 * substrate.rows}")
    busy = visit(rows, correlates)
    if busy > period:
        what = "with correlation" if correlates else "without correlation"
        raise ValueError(
            f"period: {rows} rows {what} take the processors {1e6 * busy:.0f} us, a period has "
            f"{1e6 * period:.0f} us; visit fewer rows, or less often"
        )
    return busy / period
