"""Any set of TensorFlow Datasets with samples and labels: `load("tfds:fashion_mnist")`.

The set is read from its array_record files, which needs no TensorFlow; to prepare a set for the
first time, TensorFlow Datasets itself may need it.

References: tensorflow.org/datasets/api_docs/python/tfds/data_source.
"""

from typing import Any

import numpy as np

from bss2jax.data.dataset import DataError, Dataset, Split
from bss2jax.extras import require


def dataset(name: str) -> Dataset:
    """Loads a set by its name there, which may say a config and version: `name/config:1.0.0`.

    Integers of a type of 8 or 16 bits mean shares of the largest one, as in images; the full scale
    of others is 1.

    Args:
        name: the name of the set.

    Raises:
        ValueError: there is no such set, or it has no samples of one shape with class labels in the
            splits `train` and `test`.
        DataError: it cannot be prepared or read.
    """
    tfds = require("tensorflow_datasets", "tfds", f"the data set tfds:{name}")
    try:
        builder = tfds.builder(name, file_format="array_record")
        builder.download_and_prepare()
        info = builder.info
        if info.supervised_keys is None or not {"train", "test"} <= set(info.splits):
            raise ValueError("expected supervised keys, and the splits train and test")
        x_key, y_key = info.supervised_keys
        x, y = info.features[x_key], info.features[y_key]
        if None in x.shape or not isinstance(y, tfds.features.ClassLabel):
            raise ValueError(f"expected samples of one shape and class labels, got {x} and {y}")
        found = {
            split: _split(builder.as_data_source(split), x_key, y_key, x)
            for split in ("train", "test", "validation")
            if split in info.splits
        }
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise ValueError(f"tfds:{name}: {str(error).strip().splitlines()[0]}") from error
    except Exception as error:  # of downloads, disks and features, each of a type of its own
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"tfds:{name}: {type(error).__name__}: {said}") from error
    kind = np.dtype(x.np_dtype)
    full_scale = float(np.iinfo(kind).max) if kind.itemsize < 4 and kind.kind in "iu" else 1.0
    return Dataset(
        f"tfds:{name}", found["train"], found["test"], tuple(y.names), full_scale,
        found.get("validation"),
    )  # fmt: skip


def _split(records: Any, x_key: str, y_key: str, feature: Any) -> Split:
    x = np.empty((len(records), *feature.shape), feature.np_dtype)
    y = np.empty(len(records), np.int32)
    for i in range(len(records)):
        record = records[i]
        x[i], y[i] = record[x_key], record[y_key]
    return Split(x, y)
