"""Data sets: what is loaded is what was published, and a wrong file is never used."""

import gzip
import hashlib
import http.server
import logging
import os
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest

from bss2jax import data
from bss2jax.data import cache, files

TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

# Publishes a small MNIST, made in the directory argv[1], as if it were the official one.
PUBLISH = """
import hashlib, pathlib, sys
from bss2jax.data import files, mnist

def published(name, url="https://not.reachable.invalid/"):
    content = (pathlib.Path(sys.argv[1]) / "mnist" / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return files.SourceFile(f"mnist/{name}", url + name, len(content), digest)

mnist.FILES = {split: (published(f"{split}-images"), published(f"{split}-labels"))
               for split in ("train", "test")}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An empty cache, no data directory, and no proxy before the local server, for each test."""
    path = tmp_path / "cache"
    monkeypatch.setenv("BSS2JAX_CACHE", str(path))
    monkeypatch.delenv("BSS2JAX_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return path


def idx(array, magic=None):
    """The gzipped IDX file of a uint8 array."""
    head = bytes((0, 0, 8, array.ndim)) if magic is None else magic
    sizes = np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + sizes + array.astype(np.uint8).tobytes(), compresslevel=1)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def source(content, url="http://127.0.0.1:1/", path="mnist/some.gz"):
    """A file as it would be published, with this content."""
    return files.SourceFile(path, url, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A hand-made MNIST of 20 + 10 images in `$BSS2JAX_DATA`, published as the official one."""
    from bss2jax.data import mnist

    directory = tmp_path / "data"
    rng = np.random.default_rng(0)
    published = {}
    for split, samples in (("train", 20), ("test", 10)):
        contents = {
            f"mnist/{split}-images": idx(rng.integers(0, 256, (samples, 28, 28))),
            f"mnist/{split}-labels": idx(np.arange(samples) % 10),
        }
        for path, content in contents.items():
            write(directory / path, content)
        published[split] = tuple(source(c, path=p) for p, c in contents.items())
    monkeypatch.setattr(mnist, "FILES", published)
    monkeypatch.setenv("BSS2JAX_DATA", str(directory))
    return directory


@pytest.fixture
def serve(tmp_path):
    """Serves bytes over local http: `serve(content)` is their URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    root = tmp_path / "served"
    root.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def url(content):
        write(root / "file.gz", content)
        return f"http://127.0.0.1:{server.server_port}/file.gz"

    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def python(code, *args, **env):
    """Starts Python on `code` with the test's environment."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_equal(a, b):
    for one, other in ((a.train, b.train), (a.test, b.test)):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.y, other.y)


# The package


def test_importing_data_imports_nothing_heavy():
    heavy = ["jax", "sklearn", "tensorflow_datasets", "tensorflow"]
    # bss2jax itself may import jax, so only what bss2jax.data adds is counted.
    code = f"""
import sys, bss2jax
before = set(sys.modules)
import bss2jax.data
print([name for name in {heavy} if name in set(sys.modules) - before])
"""
    process = python(code)
    assert process.communicate()[0].strip() == "[]"


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="no data set 'mnits'.*nearest is 'mnist'"):
        data.load("mnits")


def test_names_are_those_that_load_knows():
    assert data.names() == ("digits", "eurosat", "har", "mnist", "mnist16", "yinyang")


def test_labels_that_do_not_match_the_samples_are_refused():
    with pytest.raises(ValueError, match=r"expected y of shape \(3,\)"):
        data.Split(np.zeros((3, 2)), np.zeros(4, np.int32))


@pytest.mark.parametrize("name", data.names())
def test_random_like_has_the_shapes_and_types_of_the_set_and_needs_no_file(name, own_cache):
    fake = data.random_like(name, train=200, test=10, seed=1)
    spec = data._SPECS[name]
    assert fake.train.x.shape == (200, *spec.shape) and fake.test.x.shape == (10, *spec.shape)
    assert fake.train.x.dtype == spec.dtype and fake.train.y.dtype == np.int32
    # 800 uniform draws or more: the largest lies within 5 % of the end but once in 1e17.
    assert 0.95 * np.max(spec.full_scale) <= fake.train.x.max() <= np.max(fake.full_scale)
    assert fake.full_scale == spec.full_scale
    assert (fake.validation is None) == ("validation" not in spec.splits)
    assert (fake.train.group is None) == (not spec.grouped)
    assert set(fake.train.y) == set(range(len(fake.classes)))
    assert_equal(fake, data.random_like(name, train=200, test=10, seed=1))
    assert not own_cache.exists()


# Digits


def test_digits_are_1797_images_of_17_grey_levels():
    digits = data.load("digits")
    assert digits.train.x.shape == (1437, 8, 8, 1) and digits.test.x.shape == (360, 8, 8, 1)
    assert digits.train.x.dtype == np.uint8 and digits.train.y.dtype == np.int32
    assert (digits.train.x.min(), digits.train.x.max()) == (0, 16) and digits.full_scale == 16
    assert digits.shape == (8, 8, 1) and digits.classes == tuple("0123456789")
    assert data.spec("digits").train == 1437


def test_digits_split_is_stratified_disjoint_and_always_the_same():
    digits = data.load("digits")
    train, test = np.bincount(digits.train.y), np.bincount(digits.test.y)
    # Stratified: within one sample of a fifth of each class.
    assert np.all(np.abs(test - 0.2 * (train + test)) <= 1)
    train_images = {x.tobytes() for x in digits.train.x}
    assert not any(x.tobytes() in train_images for x in digits.test.x)
    assert_equal(digits, data.load("digits"))
    digest = hashlib.sha256(digits.train.x.tobytes() + digits.train.y.tobytes()).hexdigest()
    assert digest.startswith("41eb3b4b")  # published accuracies hold for this split


# IDX files


def test_idx_is_read_as_written(tmp_path):
    from bss2jax.data import mnist

    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    read = mnist.read_images(write(tmp_path / "images.gz", idx(images)))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, images[..., None])
    labels = mnist.read_labels(write(tmp_path / "labels.gz", idx(np.arange(10))))
    np.testing.assert_array_equal(labels, np.arange(10))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "got  at the start of 0 bytes"),
        (b"not gzip", "cannot unpack"),
        (idx(np.zeros((2, 28, 28)))[:-9], "cannot unpack"),
        (idx(np.zeros((2, 28, 28)), magic=bytes((0, 0, 13, 3))), "got 00 00 0d 03"),
        (idx(np.zeros(2)), "got 00 00 08 01"),
        (gzip.compress(bytes((0, 0, 8, 3))), "start of 4 bytes"),
        (gzip.compress(gzip.decompress(idx(np.zeros((2, 28, 28))))[:-1]), "got 1567 values"),
        (gzip.compress(gzip.decompress(idx(np.zeros((2, 28, 28)))) + b"0"), "got 1569 values"),
        (idx(np.zeros((2, 27, 28))), r"got images of \(27, 28\)"),
    ],
    # The contents would be part of the names, and gzip writes the time into them.
    ids=("empty", "not gzip", "cut gzip", "magic", "labels", "short", "less", "more", "size"),
)
def test_broken_images_are_refused_by_name(tmp_path, content, said):
    from bss2jax.data import mnist

    path = write(tmp_path / "images.gz", content)
    with pytest.raises(data.DataError, match=said) as error:
        mnist.read_images(path)
    assert str(path) in str(error.value) and "Replace the file" in str(error.value)


def test_labels_above_nine_are_refused(tmp_path):
    from bss2jax.data import mnist

    with pytest.raises(data.DataError, match="got label 10, expected 0..9"):
        mnist.read_labels(write(tmp_path / "labels.gz", idx(np.arange(11))))


# Original files


def test_files_in_the_data_directory_are_used_in_place(small):
    from bss2jax.data import mnist

    assert files.locate(mnist.FILES["train"][0]) == small / "mnist" / "train-images"


@pytest.mark.parametrize("wrong", [b"short", b"wrong byte!"])
def test_a_wrong_file_in_the_data_directory_is_an_error_not_a_download(
    tmp_path, monkeypatch, wrong
):
    original = source(b"right bytes")
    path = write(tmp_path / "data" / original.path, wrong)
    monkeypatch.setenv("BSS2JAX_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(files, "_download", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(data.DataError, match="got .* expected .* Replace it") as error:
        files.locate(original)
    assert str(path) in str(error.value)


def test_a_missing_file_is_downloaded_once(serve, own_cache, monkeypatch):
    original = source(b"content", serve(b"content"))
    path = files.locate(original)
    assert path == own_cache / "downloads" / original.path
    assert path.read_bytes() == b"content"
    monkeypatch.setattr(files, "_download", lambda *_: pytest.fail("downloaded again"))
    assert files.locate(original) == path


@pytest.mark.parametrize("served", [b"con", b"CONTENT", b"content and more"])
def test_a_wrong_download_is_refused_and_leaves_nothing(serve, own_cache, served):
    original = source(b"content", serve(served))
    with pytest.raises(data.DataError, match="got .* expected .* by hand") as error:
        files.locate(original)
    assert original.url in str(error.value)
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_an_unreachable_server_is_one_clear_error(own_cache):
    with pytest.raises(data.DataError, match="cannot download http://127.0.0.1:1/.* by hand"):
        files.locate(source(b"content"))
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_a_damaged_earlier_download_is_downloaded_again(serve, own_cache, caplog):
    original = source(b"content", serve(b"content"))
    write(own_cache / "downloads" / original.path, b"damaged")
    assert files.locate(original).read_bytes() == b"content"
    assert "downloaded again" in caplog.text


# The array cache


def test_prepared_arrays_are_those_of_the_original_files_in_their_order(small):
    from bss2jax.data import mnist

    mnist_small = data.load("mnist")
    np.testing.assert_array_equal(
        mnist_small.train.x, mnist.read_images(small / "mnist" / "train-images")
    )
    np.testing.assert_array_equal(mnist_small.train.y, np.arange(20) % 10)
    assert mnist_small.train.y.dtype == np.int32 and mnist_small.test.x.shape == (10, 28, 28, 1)
    assert mnist_small.full_scale == 255 and mnist_small.classes == tuple("0123456789")


def test_preparing_prints_nothing_and_leaves_one_file(small, own_cache, capfd):
    data.load("mnist")
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in own_cache.iterdir()] == ["mnist-v1.npz"]


def test_mnist16_is_the_middle_of_mnist_averaged(small, own_cache):
    whole, little = data.load("mnist"), data.load("mnist16")
    assert little.shape == (16, 16, 1) and little.train.x.dtype == np.uint8
    np.testing.assert_array_equal(little.train.y, whole.train.y)
    inner = whole.test.x[:, 2:-2, 2:-2, 0].astype(float)
    # 16 new pixels over 24 old ones: split each old one in two, average three each way.
    halves = inner.repeat(2, axis=1).repeat(2, axis=2)
    means = halves.reshape(len(inner), 16, 3, 16, 3).mean((2, 4))
    assert np.abs(little.test.x[..., 0] - means).max() <= 0.5 + 1e-4


def test_second_load_needs_no_source(small, monkeypatch):
    first = data.load("mnist")
    monkeypatch.delenv("BSS2JAX_DATA")
    for path in (small / "mnist").iterdir():
        path.unlink()
    assert_equal(first, data.load("mnist"))


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    # In the pixels of train_x, beyond the zip and npy headers.
    return content[:5000] + bytes((content[5000] ^ 1,)) + content[5001:]


@pytest.mark.parametrize("damage", [cut, flip, lambda _: b"", lambda _: b"not a zip"])
def test_a_damaged_cache_is_said_and_rebuilt(small, own_cache, caplog, damage):
    first = data.load("mnist")
    path = own_cache / "mnist-v1.npz"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert_equal(first, data.load("mnist"))
    assert str(path) in caplog.text and "damaged" in caplog.text
    caplog.clear()
    assert_equal(first, data.load("mnist"))
    assert not caplog.text


@pytest.mark.parametrize(
    "train",
    [
        data.Split(np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.int32)),
        data.Split(np.zeros((2, 28, 28, 1), np.float32), np.zeros(2, np.int32)),
        data.Split(np.zeros((2, 28, 28, 1), np.uint8), np.zeros(2, np.int64)),
        data.Split(np.zeros((2, 28, 28, 1), np.uint8), np.full(2, 10, np.int32)),
        data.Split(np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, np.int32)),
    ],
)
def test_a_cache_of_other_arrays_counts_as_damaged(own_cache, caplog, train):
    spec = data._SPECS["mnist"]
    good = data.random_like("mnist")
    cache.cached("mnist", spec, lambda: (train, good.test))
    rebuilt, _ = cache.cached("mnist", spec, lambda: (good.train, good.test))
    assert rebuilt is good.train and "damaged" in caplog.text


def test_a_pickle_in_the_cache_is_not_opened(own_cache, caplog):
    good = data.random_like("mnist")
    own_cache.mkdir()
    objects = np.array([{}], object)
    np.savez(own_cache / "mnist-v1.npz", train_x=objects, train_y=objects)
    cache.cached("mnist", data._SPECS["mnist"], lambda: (good.train, good.test))
    assert "allow_pickle=False" in caplog.text


def test_a_damaged_cache_without_source_is_a_clear_error(small, own_cache):
    data.load("mnist")
    (own_cache / "mnist-v1.npz").write_bytes(b"")
    for path in (small / "mnist").iterdir():
        path.unlink()
    with pytest.raises(data.DataError, match="cannot download .* by hand and set BSS2JAX_DATA"):
        data.load("mnist")


def test_a_cache_that_cannot_be_written_is_one_error_with_its_path(small, tmp_path, monkeypatch):
    # A file in the way: root, who may run the tests, can write to read-only directories.
    blocked = write(tmp_path / "a_file", b"") / "cache"
    monkeypatch.setenv("BSS2JAX_CACHE", str(blocked))
    with pytest.raises(data.DataError, match="set BSS2JAX_CACHE") as error:
        data.load("mnist")
    assert str(blocked) in str(error.value)


def test_a_full_disk_is_one_error_and_leaves_nothing(own_cache, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    good = data.random_like("mnist")
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(data.DataError, match="mnist-v1.npz: No space left"):
        cache.cached("mnist", data._SPECS["mnist"], lambda: (good.train, good.test))
    assert not list(own_cache.iterdir())


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("BSS2JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_directory() == tmp_path / "bss2jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_directory() == tmp_path / ".cache" / "bss2jax"


def test_two_processes_may_load_for_the_first_time_at_once(small, own_cache):
    code = PUBLISH + "from bss2jax import data; print(data.load('mnist').train.y.sum())"
    processes = [python(code, small) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in processes] == ["90", "90"]
    assert [path.name for path in own_cache.iterdir()] == ["mnist-v1.npz"]


# The real MNIST


@pytest.fixture(scope="module")
def mnist_cache(tmp_path_factory):
    """A cache with the real MNIST, prepared in a process of its own; also what that one says."""
    if not os.environ.get("BSS2JAX_DATA"):
        pytest.skip("needs the MNIST files: set BSS2JAX_DATA to a directory with mnist/*.gz")
    path = tmp_path_factory.mktemp("mnist")
    code = "import sys; from bss2jax import data; data.load('mnist'); "
    process = python(code + "print('tensorflow' in sys.modules)", BSS2JAX_CACHE=str(path))
    return path, process.communicate()[0]


def test_mnist_is_prepared_without_tensorflow(mnist_cache):
    assert mnist_cache[1].strip() == "False"


def test_mnist_has_the_published_images(mnist_cache, monkeypatch):
    monkeypatch.setenv("BSS2JAX_CACHE", str(mnist_cache[0]))
    mnist = data.load("mnist")
    assert mnist.train.x.shape == (60_000, 28, 28, 1) and mnist.train.x.dtype == np.uint8
    assert mnist.test.x.shape == (10_000, 28, 28, 1)
    assert data.spec("mnist").train == data.spec("mnist16").train == 60_000
    assert np.bincount(mnist.train.y).tolist() == TRAIN_COUNTS
    assert np.bincount(mnist.test.y).tolist() == TEST_COUNTS
    assert mnist.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]  # the original order
    # The mean everyone normalises MNIST with.
    assert mnist.train.x.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
