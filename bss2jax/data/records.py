"""From a tensorflow-datasets builder to arrays, without TensorFlow."""

import contextlib
import io
import sys
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds

from bss2jax.data.dataset import DataError, Spec, Split
from bss2jax.data.files import scratch_directory

_BATCH = 1000  # records read at once: twice as quick as one by one


class LocalInfo(tfds.core.DatasetInfo):
    """What a builder's `_info` returns here: never asks Google's servers about the set."""

    def initialize_from_bucket(self) -> None:
        """Does nothing, where tfds looks the set up online and leaves a temporary directory."""


def info(builder: tfds.core.DatasetBuilder, x: str, spec: Spec) -> LocalInfo:
    """Returns what a builder says of its set: samples, labels, groups, in the order it makes them.

    Args:
        builder: whose `_info` this is.
        x: what it calls a sample; the others are `label` and `group`.
        spec: of the set.
    """
    # A Tensor, since encoding an Image needs TensorFlow; as bytes, since the default stores each
    # entry as a 64-bit integer and is slower.
    samples = tfds.features.Tensor(shape=spec.shape, dtype=np.dtype(spec.dtype), encoding="bytes")
    features = {x: samples, "label": tfds.features.ClassLabel(num_classes=len(spec.classes))}
    if spec.grouped:
        features["group"] = tfds.features.Scalar(np.int32)
    return LocalInfo(
        builder=builder,
        description=builder.__doc__,
        features=tfds.features.FeaturesDict(features),
        supervised_keys=(x, "label"),
        disable_shuffling=True,
    )


def decode(
    builder_class: type[tfds.core.DatasetBuilder], names: Sequence[str] = ("train", "test")
) -> tuple[Split, ...]:
    """Prepares a set in array_record files, reads them back and removes them.

    The records go to a directory of this process alone, so two first uses at once do not meet. They
    are not kept: the arrays are, in one file that is quicker to read.

    Args:
        builder_class: a `tfds.core.DatasetBuilder` class with supervised keys; a feature named
            `group` becomes the splits' groups.
        names: of its splits.

    Returns:
        The splits by these names, each a `Split` in the order the builder generates.

    Raises:
        DataError: an original file is missing or wrong, or the cache cannot be written.
    """
    with scratch_directory() as scratch, _quiet():
        builder = builder_class(data_dir=scratch, file_format="array_record")
        try:
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
        except DataError:
            raise
        except RuntimeError as error:  # how array_record reports a full disk
            raise DataError(
                f"cannot write the records of {builder.name}: {error}. Make room in "
                f"{scratch.parent}, or set BSS2JAX_CACHE to a directory with room"
            ) from error
        return tuple(_split(builder, name) for name in names)


def _split(builder, name):
    """Reads one split into arrays."""
    x_key, y_key = builder.info.supervised_keys
    feature = builder.info.features[x_key]
    records = builder.as_data_source(name)
    x = np.empty((len(records), *feature.shape), feature.np_dtype)
    y = np.empty(len(records), np.int32)
    group = np.empty(len(records), np.int32) if "group" in builder.info.features else None
    for start in range(0, len(records), _BATCH):
        rows = range(start, min(start + _BATCH, len(records)))
        for row, record in zip(rows, records.__getitems__(list(rows))):
            x[row], y[row] = record[x_key], record[y_key]
            if group is not None:
                group[row] = record["group"]
    return Split(x, y, group)


@contextlib.contextmanager
def _quiet():
    """tfds prints to stdout and draws progress bars: no printing, and bars on terminals only."""
    tfds.display_progress_bar(sys.stderr.isatty())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
