"""Fashion-MNIST: 60,000 + 10,000 pieces of clothing, 28x28 grey, in the form of MNIST.

References: H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking
Machine Learning Algorithms, 2017, arXiv 1708.07747; MIT licence.
"""

from functools import partial

from bss2jax.data.dataset import Split
from bss2jax.data.idx import original, splits_of

# Where torchvision, Keras and others keep the files.
_FOLDERS = (
    "fashion_mnist/", "FashionMNIST/raw/", "fashion_mnist/FashionMNIST/raw/", "fashion-mnist/",
)  # fmt: skip
_original = partial(
    original,
    _FOLDERS,
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
)

# Images and labels of each split, as registered by tensorflow-datasets 4.9.10 too.
FILES = {
    "train": (
        _original(
            "train-images-idx3-ubyte",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        _original(
            "train-labels-idx1-ubyte",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
    ),
    "test": (
        _original(
            "t10k-images-idx3-ubyte",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        _original(
            "t10k-labels-idx1-ubyte",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def splits() -> tuple[Split, ...]:
    """Builds Fashion-MNIST from its original files.

    Returns:
        `(train, test)` with x uint8 `[S, 28, 28, 1]`, 0..255.

    Raises:
        DataError: an original file is missing or wrong.
    """
    return splits_of(FILES)
