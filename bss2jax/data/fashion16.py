"""Fashion-MNIST for one chip: the outer two rows and columns dropped, rescaled to 16x16.

As MNIST's, see `bss2jax.data.mnist16`.
"""

from bss2jax import data
from bss2jax.data.dataset import Split
from bss2jax.data.mnist16 import shrunk


def splits() -> tuple[Split, ...]:
    """Makes both splits from Fashion-MNIST: x uint8 `[S, 16, 16, 1]`.

    Raises:
        DataError: as Fashion-MNIST's.
    """
    return shrunk(data.load("fashion_mnist"))
