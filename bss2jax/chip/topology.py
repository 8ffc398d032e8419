"""Where the chips of a system are, and by which links an event goes from one to another.

Where a spike goes is a function of a topology alone, so nothing else knows of XY routes.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np


class Topology(Protocol):
    """Chips and the links between them; chips and links are numbered from 0 on."""

    @property
    def chips(self) -> int:
        """How many chips there are."""
        ...

    @property
    def ends(self) -> np.ndarray:
        """Nodes `[L, 2]` that each link leads from and to; nodes below `chips` are chips."""
        ...

    @property
    def kinds(self) -> np.ndarray:
        """Which of the system's links each is, `[L]`."""
        ...

    @property
    def mesh(self) -> "Mesh | None":
        """Itself where chips are on a grid; None where there is no grid to place them on."""
        ...

    @property
    def present(self) -> np.ndarray:
        """Whether there is such a link, `[L]`: at the border of a grid links lead nowhere."""
        ...

    def layout(self) -> np.ndarray:
        """Returns where to draw each node, `[nodes, 2]`, neighbours a length of 1 apart."""
        ...

    def hops(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Returns the links on the way between chips: `[n]` from two `[n]`."""
        ...

    def routes(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the links on the ways between chips.

        Args:
            source: `[n]` chips.
            target: `[n]` chips.

        Returns:
            `[m]` which of the n ways, in order, and `[m]` its links in the order of the way.
        """
        ...


def _steps(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which way each of all steps belongs to, and which one of that way it is."""
    way = np.repeat(np.arange(len(lengths)), lengths)
    return way, np.arange(len(way)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


@dataclass(frozen=True)
class Mesh:
    """Chips on a grid, each with links to its neighbours; events go along rows, then columns.

    Attributes:
        rows, columns: the numbers of chips, numbered row by row.

    Raises:
        ValueError: there is no chip.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"mesh: expected at least 1 x 1 chips, got {self.rows}x{self.columns}")

    @property
    def chips(self) -> int:
        return self.rows * self.columns

    @property
    def mesh(self) -> "Mesh":
        return self

    @cached_property
    def ends(self) -> np.ndarray:
        chip = np.repeat(np.arange(self.chips), 4)  # east, west, south, north of each chip
        step = np.tile([1, -1, self.columns, -self.columns], self.chips)
        return np.column_stack([chip, chip + step])

    @cached_property
    def kinds(self) -> np.ndarray:
        return np.tile([0, 0, 1, 1], self.chips)

    @cached_property
    def present(self) -> np.ndarray:
        """Whether the grid has the link, `[L]`: at its border links lead nowhere."""
        row, column = np.divmod(np.arange(self.chips), self.columns)
        inside = (column + 1 < self.columns, column > 0, row + 1 < self.rows, row > 0)
        return np.column_stack(inside).ravel()

    def layout(self) -> np.ndarray:
        row, column = self.at(np.arange(self.chips))
        return np.column_stack([column, -row]).astype(float)

    def at(self, chips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows and columns, `[n]` each, of chips `[n]`."""
        row, column = np.divmod(chips, self.columns)
        return row, column

    def hops(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        (r0, c0), (r1, c1) = self.at(source), self.at(target)
        return np.abs(r0 - r1) + np.abs(c0 - c1)

    def routes(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (r0, c0), (r1, c1) = self.at(source), self.at(target)
        along = np.abs(c1 - c0)
        way, step = _steps(along + np.abs(r1 - r0))
        east, south = np.sign(c1 - c0)[way], np.sign(r1 - r0)[way]
        first = step < along[way]
        row = r0[way] + np.where(first, 0, south * (step - along[way]))
        column = np.where(first, c0[way] + east * step, c1[way])
        direction = np.where(first, (1 - east) // 2, 2 + (1 - south) // 2)
        return way, 4 * (row * self.columns + column) + direction


@dataclass(frozen=True)
class Tree:
    """Chips below switches below switches: an event goes up as far as it must, then down.

    Attributes:
        branches: how many switches or chips hang on each switch, from the root down: `(12,)` is a
            star of 12 chips, `(2, 12)` two of them, joined.

    Raises:
        ValueError: a switch without branches.
    """

    branches: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.branches or min(self.branches) < 1:
            raise ValueError(f"tree: expected branches of at least 1, got {self.branches}")

    @property
    def chips(self) -> int:
        return int(np.prod(self.branches))

    @property
    def mesh(self) -> None:
        return None

    @cached_property
    def _ancestors(self) -> np.ndarray:
        """The node at each depth above each chip, `[chips, depth + 1]`; the chip comes last.

        Chips are numbered first, then switches from the lowest up.
        """
        levels, node, first = [np.arange(self.chips)], np.arange(self.chips), self.chips
        for branches in self.branches[::-1]:
            node = node // branches
            levels.append(first + node)
            first += int(node[-1]) + 1
        return np.column_stack(levels[::-1])

    @cached_property
    def ends(self) -> np.ndarray:
        # Links 2 i and 2 i + 1 lead up from and down to node i; the root has none.
        above = np.zeros(int(self._ancestors.max()), int)
        for depth in range(1, self._ancestors.shape[1]):
            above[self._ancestors[:, depth]] = self._ancestors[:, depth - 1]
        node = np.arange(len(above))
        return np.stack(
            [np.column_stack([node, above]), np.column_stack([above, node])], 1
        ).reshape(-1, 2)

    @cached_property
    def kinds(self) -> np.ndarray:
        depth = self._ancestors.shape[1]
        kind = np.zeros(int(self._ancestors.max()), int)
        for level in range(1, depth):
            kind[self._ancestors[:, level]] = depth - 1 - level
        return np.repeat(kind, 2)

    @property
    def present(self) -> np.ndarray:
        """Whether the tree has the link, `[L]`: all of them."""
        return np.ones(len(self.ends), bool)

    def layout(self) -> np.ndarray:
        # Chips on a circle; a switch in the middle of what hangs on it, nearer to the centre.
        angle = 2 * np.pi * np.arange(self.chips) / self.chips
        depth = self._ancestors.shape[1] - 1
        radius = max(1.0, self.chips / 6)
        places = np.zeros((int(self._ancestors.max()) + 1, 2))
        on_circle = np.column_stack([np.cos(angle), np.sin(angle)])
        for level in range(depth + 1):
            node = self._ancestors[:, level]
            for axis in (0, 1):
                mean = np.bincount(node, on_circle[:, axis]) / np.maximum(np.bincount(node), 1)
                places[np.unique(node), axis] = radius * mean[np.unique(node)] * level / depth
        return places

    def _common(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """How many nodes from the root down both ways share."""
        return (self._ancestors[source] == self._ancestors[target]).sum(axis=1)

    def hops(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        return 2 * (self._ancestors.shape[1] - self._common(source, target))

    def routes(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        last, common = self._ancestors.shape[1] - 1, self._common(source, target)
        up = last + 1 - common
        way, step = _steps(2 * up)
        rises = step < up[way]
        level = np.where(rises, last - step, common[way] + step - up[way])
        node = self._ancestors[np.where(rises, source[way], target[way]), level]
        return way, 2 * node + ~rises
