"""CIFAR-100: 50,000 + 10,000 photographs of a hundred kinds of things, 32x32 RGB.

The labels are the fine ones, in the order of the archive's own names.

References: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from bss2jax.data.cifar import records, unpack
from bss2jax.data.dataset import Split
from bss2jax.data.originals import Original, locate

# The sha256 is that which tensorflow-datasets 4.9.10 registers.
FILE = Original(
    "cifar100/cifar-100-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    elsewhere=("cifar-100-binary.tar.gz",),
)


def splits() -> tuple[Split, ...]:
    """Builds CIFAR-100 from its official archive.

    Returns:
        `(train, test)` with x uint8 `[S, 32, 32, 3]`, 0..255.

    Raises:
        DataError: the archive is missing or wrong.
    """
    members = [f"cifar-100-binary/{name}.bin" for name in ("train", "test")]
    train, test = unpack(locate(FILE), members)
    return records([train], labels=2), records([test], labels=2)
