"""CIFAR-10: 50,000 + 10,000 photographs of ten kinds of things, 32x32 RGB.

A re-pack is read where the official archive is not in `$BSS2JAX_DATA`: rebuilt from public
copies, 59,902 of its 60,000 images are exact, 98 (77 of training, 21 of test; 93 ships, 5 horses)
come from a copy that was compressed as JPEG; its test images are in another order.

References: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from bss2jax.data.cifar import records, unpack
from bss2jax.data.dataset import Split
from bss2jax.data.originals import Original, given, locate

_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST = "test_batch"

# The sha256 is that which tensorflow-datasets 4.9.10 registers.
FILE = Original(
    "cifar10/cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    elsewhere=("cifar-10-binary.tar.gz",),
)

# Files of the re-pack, of the same records, by their sha256.
REPACK = {
    f"cifar10/{name}.bin": sha256
    for name, sha256 in zip(
        (*_BATCHES, "test_batch_by_class"),
        (
            "0def081c410489f98b3935c2d405fc7436d23377894a5d6a710ce1fad8082588",
            "69cda47c0145e3c217e9d41887b354db05bc67d8e824a0007c909625de6c9935",
            "1a4d0920ea06101641902b09fdac800cad7b5105963deee31ddff8e83fbabe6c",
            "7f8e9534c4aa91fa34cb7cb4561b126eac16e9a5aff31f1fdb6b38d83f3b92d6",
            "ace578a129b1d9695ee4254afb079a7573b408a36f818d5d96062484607c1619",
            "4b7dd9f7f38d73a41371c2bf4def0a74ce648a3488081975dad23eae80990714",
        ),
        strict=True,
    )
}


def splits() -> tuple[Split, ...]:
    """Builds CIFAR-10 from its official archive, or from the re-pack.

    Returns:
        `(train, test)` with x uint8 `[S, 32, 32, 3]`, 0..255.

    Raises:
        DataError: the archive is missing or wrong.
    """
    if given(FILE) is None:
        found = [given(Original(path, "", sha256)) for path, sha256 in REPACK.items()]
        parts = [path.read_bytes() for path in found if path is not None]
        if len(parts) == len(REPACK):
            return records(parts[:-1]), records(parts[-1:])
    members = [f"cifar-10-batches-bin/{name}.bin" for name in (*_BATCHES, _TEST)]
    *train, test = unpack(locate(FILE), members)
    return records(train), records([test])
