"""The 8x8 digits that come with scikit-learn: no files, no network, seconds to train on.

References: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (the test
part, 1,797 images); `sklearn.datasets.load_digits`.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from bss2jax.data.dataset import Split


def splits() -> tuple[Split, ...]:
    """Splits the digits into 1,437 and 360, each class in the same proportion in both.

    Returns:
        `(train, test)` with x uint8 `[S, 8, 8, 1]`, 0..16.
    """
    digits = load_digits()
    x = digits.images.astype(np.uint8)[..., None]
    y = digits.target.astype(np.int32)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.2, random_state=0, stratify=y
    )
    return Split(x_train, y_train), Split(x_test, y_test)
