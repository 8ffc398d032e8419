"""Data sets: what is loaded is what was published, and a wrong file is never used."""

import gzip
import hashlib
import http.server
import io
import json
import logging
import os
import re
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from bss2jax import data
from bss2jax.cli import main
from bss2jax.data import cifar10, cifar100, eurosat, fashion_mnist, har, mnist, originals

LAND = data.spec("eurosat").classes
REAL = os.environ.get("BSS2JAX_DATA")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An empty cache, no data directory, and no proxy before the local server, for each test."""
    path = tmp_path / "cache"
    monkeypatch.setenv("BSS2JAX_CACHE", str(path))
    monkeypatch.delenv("BSS2JAX_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return path


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def published(content, url="http://127.0.0.1:1/", path="mnist/some.gz"):
    """A file as it would be published, with this content."""
    return originals.Original(path, url, hashlib.sha256(content).hexdigest())


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


def assert_equal(a, b):
    for one, other in ((a.train, b.train), (a.test, b.test)):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.y, other.y)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="no data set 'mnits'.*did you mean 'mnist'"):
        data.load("mnits")


def test_labels_that_do_not_match_the_samples_are_refused():
    with pytest.raises(ValueError, match=r"expected y of shape \(3,\)"):
        data.Split(np.zeros((3, 2)), np.zeros(4, np.int32))


def test_digits_split_is_stratified_disjoint_and_always_the_same():
    digits = data.load("digits")
    assert digits.train.x.shape == (1437, 8, 8, 1) and digits.test.x.shape == (360, 8, 8, 1)
    assert digits.train.x.dtype == np.uint8 and digits.train.y.dtype == np.int32
    assert (digits.train.x.min(), digits.train.x.max()) == (0, 16) and digits.full_scale == 16
    train, test = np.bincount(digits.train.y), np.bincount(digits.test.y)
    # Stratified: within one sample of a fifth of each class.
    assert np.all(np.abs(test - 0.2 * (train + test)) <= 1)
    train_images = {x.tobytes() for x in digits.train.x}
    assert not any(x.tobytes() in train_images for x in digits.test.x)
    digest = hashlib.sha256(digits.train.x.tobytes() + digits.train.y.tobytes()).hexdigest()
    assert digest.startswith("41eb3b4b")  # published accuracies hold for this split


# Original files


def test_files_in_the_data_directory_are_used_in_place(tmp_path, monkeypatch):
    original = published(b"content")
    path = write(tmp_path / "data" / original.path, b"content")
    monkeypatch.setenv("BSS2JAX_DATA", str(tmp_path / "data"))
    assert originals.locate(original) == path
    repacked = originals.Original(original.path, "", "0" * 64, repacks=(original.sha256,))
    assert originals.locate(repacked) == path


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda path: path.write_bytes(b"short"), "some.gz: got 5 bytes .* expected .* Replace it"),
        (lambda path: path.mkdir(), "cannot read .*some.gz: Is a directory"),
        (lambda path: path.symlink_to("nowhere"), "some.gz: a link to nowhere, which is not there"),
        (lambda path: path.parent.rmdir() or path.parent.touch(), "cannot read .*: Not a dir"),
    ],
    ids=["wrong", "directory", "link", "parent"],
)
def test_what_is_wrong_in_the_data_directory_is_an_error_not_a_download(
    tmp_path, monkeypatch, make, said
):
    original = published(b"content")
    path = tmp_path / "data" / original.path
    path.parent.mkdir(parents=True)
    make(path)
    monkeypatch.setenv("BSS2JAX_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(originals, "_downloaded", lambda *_: pytest.fail("downloaded"))
    with pytest.raises(data.DataError, match=said):
        originals.locate(original)


@pytest.mark.parametrize("value", ["/no/such/place", "~no-such-user/data"])
def test_a_data_directory_that_is_not_there_is_said(value, monkeypatch):
    monkeypatch.setenv("BSS2JAX_DATA", value)
    with pytest.raises(data.DataError, match=f"{value}: no such .*directory"):
        originals.locate(published(b""))


PACKED = gzip.compress(b"content", mtime=0)


@pytest.mark.parametrize("content", [PACKED, gzip.compress(b"content", 1, mtime=9), b"content"])
@pytest.mark.parametrize("place", ["some.gz", "mnist/some", "MNIST/raw/some"])
def test_a_file_is_good_unpacked_packed_anew_and_where_other_libraries_put_it(
    tmp_path, monkeypatch, content, place
):
    digests = [hashlib.sha256(each).hexdigest() for each in (PACKED, b"content")]
    elsewhere = ("mnist/some", "MNIST/raw/some")
    original = originals.Original("some.gz", "", digests[0], (), digests[1], elsewhere)
    path = write(tmp_path / "data" / place, content)
    monkeypatch.setenv("BSS2JAX_DATA", str(tmp_path / "data"))
    assert originals.locate(original) == path and originals.unpacked(path) == b"content"
    for wrong in (PACKED[:-9], gzip.compress(b"another"), b"another"):
        path.write_bytes(wrong)
        with pytest.raises(data.DataError, match=f"{place}.*Replace it"):
            originals.locate(original)


@pytest.mark.parametrize("module, folder", [(mnist, "MNIST"), (fashion_mnist, "FashionMNIST")])
def test_a_set_is_found_where_torchvision_keeps_it(module, folder):
    for original in sum(module.FILES.values(), ()):
        name = original.path.rpartition("/")[2]
        assert f"{folder}/raw/{name}" in original.elsewhere
        assert f"{folder}/raw/{name.removesuffix('.gz')}" in original.elsewhere


def test_a_missing_file_is_downloaded_once(serve, own_cache, monkeypatch):
    original = published(b"content", serve(b"content"))
    path = originals.locate(original)
    assert path == own_cache / "downloads" / original.path
    assert path.read_bytes() == b"content"
    serve(b"something else by now")
    assert originals.locate(original).read_bytes() == b"content"


@pytest.mark.parametrize("served", [b"con", b"CONTENT", b"content and more"])
def test_a_wrong_download_is_refused_and_leaves_nothing(serve, own_cache, served):
    original = published(b"content", serve(served))
    with pytest.raises(data.DataError, match="cannot download .* hash .* by hand") as error:
        originals.locate(original)
    assert original.url in str(error.value)
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_an_unreachable_server_is_one_clear_error(own_cache):
    with pytest.raises(data.DataError, match="cannot download http://127.0.0.1:1/.* by hand"):
        originals.locate(published(b"content"))
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_a_damaged_earlier_download_is_downloaded_again(serve, own_cache):
    original = published(b"content", serve(b"content"))
    write(own_cache / "downloads" / original.path, b"damaged")
    assert originals.locate(original).read_bytes() == b"content"


def test_sources_are_https_and_named_by_a_sha256():
    idx_files = (sum(module.FILES.values(), ()) for module in (mnist, fashion_mnist))
    archives = (module.FILE for module in (cifar10, cifar100, eurosat, har))
    for original in (*archives, *sum(idx_files, ())):
        assert original.url.startswith("https://")
        for digest in (original.sha256, *original.repacks):
            assert len(digest) == 64 and int(digest, 16)


# Hand-made sets, published as if they were the official ones


def publish(tmp_path, monkeypatch, contents):
    """Puts files into `$BSS2JAX_DATA`; returns what is known of each."""
    monkeypatch.setenv("BSS2JAX_DATA", str(tmp_path / "data"))
    for path, content in contents.items():
        write(tmp_path / "data" / path, content)
    return [published(content, path=path) for path, content in contents.items()]


def idx(array):
    """The gzipped IDX file of a uint8 array."""
    sizes = np.array(array.shape, ">u4").tobytes()
    return gzip.compress(bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes())


@pytest.fixture
def images28(tmp_path, monkeypatch):
    """An MNIST and a Fashion-MNIST of the same 20 + 9 images: the images by split."""
    rng = np.random.default_rng(0)
    images = {split: rng.integers(0, 256, (n, 28, 28)) for split, n in (("train", 20), ("test", 9))}
    for split, x in images.items():
        contents = {f"{split}-images": idx(x), f"{split}-labels": idx(np.arange(len(x)) % 10)}
        files = tuple(publish(tmp_path, monkeypatch, contents))
        for module in (mnist, fashion_mnist):
            monkeypatch.setitem(module.FILES, split, files)
    return images


def pack(contents):
    """A zip archive of these files, bytes by path."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def publish_archive(module, content, tmp_path, monkeypatch):
    (file,) = publish(tmp_path, monkeypatch, {module.FILE.path: content})
    monkeypatch.setattr(module, "FILE", file)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_a_set_is_its_files_in_their_order(name, images28, own_cache, capfd):
    loaded = data.load(name)
    for split in ("train", "test"):
        found = getattr(loaded, split)
        np.testing.assert_array_equal(found.x[..., 0], images28[split])
        np.testing.assert_array_equal(found.y, np.arange(len(found.y)) % 10)
        assert found.x.dtype == np.uint8 and found.y.dtype == np.int32
    assert loaded.full_scale == 255 and len(loaded.classes) == 10
    assert loaded.classes[9] == {"mnist": "9", "fashion_mnist": "Ankle boot"}[name]
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in own_cache.iterdir()] == [f"{name}-v1.npz"]


@pytest.mark.parametrize("whole, little", [("mnist", "mnist16"), ("fashion_mnist", "fashion16")])
def test_the_sets_for_one_chip_are_the_middle_averaged(whole, little, images28):
    whole, little = data.load(whole), data.load(little)
    assert little.classes == whole.classes
    assert little.shape == (16, 16, 1) and little.train.x.dtype == np.uint8
    np.testing.assert_array_equal(little.train.y, whole.train.y)
    inner = whole.test.x[:, 2:-2, 2:-2, 0].astype(float)
    # 16 new pixels over 24 old ones: split each old one in two, average three each way.
    halves = inner.repeat(2, axis=1).repeat(2, axis=2)
    means = halves.reshape(len(inner), 16, 3, 16, 3).mean((2, 4))
    assert np.abs(little.test.x[..., 0] - means).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("download", [False, True])
def test_har_is_read_from_its_archive_and_from_the_one_inside(tmp_path, monkeypatch, download):
    rng = np.random.default_rng(0)
    contents, signals = {"UCI HAR Dataset/README.txt": b""}, {}
    for split, samples, person in (("train", 5, 1), ("test", 3, 2)):
        folder = f"UCI HAR Dataset/{split}"
        signals[split] = rng.normal(0, 0.5, (samples, 128, 9))
        contents[f"{folder}/y_{split}.txt"] = "\n".join(str(1 + i) for i in range(samples))
        contents[f"{folder}/subject_{split}.txt"] = f"{person}\n" * samples
        for i, name in enumerate(har.SIGNALS):
            # Numbers as in the original: 16 characters each, CRLF.
            rows = ["".join(f"{v:16.7e}" for v in row) for row in signals[split][:, :, i]]
            path = f"{folder}/Inertial Signals/{name}_{split}.txt"
            contents[path] = "\r\n".join(rows) + "\r\n"
    content = pack(contents)
    if download:
        content = pack({"UCI HAR Dataset.zip": content, "UCI HAR Dataset.names": b""})
    publish_archive(har, content, tmp_path, monkeypatch)
    small = data.load("har")
    for split, person in (("train", 1), ("test", 2)):
        found = getattr(small, split)
        assert found.x.dtype == np.float32 and found.group.dtype == np.int32
        # Seven digits are written.
        np.testing.assert_allclose(found.x, signals[split], rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(found.y, np.arange(len(found.y)))
        assert set(found.group) == {person}
    assert small.shape == (128, 9) and len(small.full_scale) == 9 and small.validation is None
    np.testing.assert_array_equal(data.load("har").train.group, small.train.group)


def photographs(images, *labels):
    """Records of CIFAR: labels, then the planes of images `[S, 32, 32, 3]`."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.column_stack([*labels, planes]).astype(np.uint8).tobytes()


def pack_tar(contents):
    """A packed tar archive of these files, bytes by path."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


BATCHES = [f"data_batch_{n}.bin" for n in range(1, 6)]


@pytest.fixture
def coloured():
    """Images and labels of six files of three."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (6, 3, 32, 32, 3), np.uint8), rng.integers(0, 10, (6, 3))


def assert_photographs(found, images, labels):
    for split, some in ((found.train, slice(5)), (found.test, slice(5, 6))):
        np.testing.assert_array_equal(split.x, images[some].reshape(-1, 32, 32, 3))
        np.testing.assert_array_equal(split.y, labels[some].reshape(-1))
        assert split.x.dtype == np.uint8 and split.y.dtype == np.int32


@pytest.mark.parametrize("repacked", [False, True])
def test_cifar10_is_its_archive_and_else_the_repack_which_says_so(
    tmp_path, monkeypatch, coloured, repacked
):
    images, labels = coloured
    contents = [photographs(*each) for each in zip(images, labels)]
    if repacked:
        paths = [f"cifar10/{name}" for name in (*BATCHES, "test_batch_by_class.bin")]
        assert list(cifar10.REPACK) == paths
        made = publish(tmp_path, monkeypatch, dict(zip(paths, contents)))
        monkeypatch.setattr(cifar10, "REPACK", {each.path: each.sha256 for each in made})
        known = replace(data.spec("cifar10"), copies=((digest(images[5]), "not quite"),))
        monkeypatch.setitem(data.SPECS, "cifar10", known)
    else:
        names = ("data_batch_1.bin", "test_batch.bin", *BATCHES[1:])
        parts = (contents[0], contents[5], *contents[1:5])
        members = {f"cifar-10-batches-bin/{n}": c for n, c in zip(names, parts)}
        members["cifar-10-batches-bin/readme.html"] = b""
        publish_archive(cifar10, pack_tar(members), tmp_path, monkeypatch)
    found = data.load("cifar10")
    assert_photographs(found, images, labels)
    assert found.note == ("not quite" if repacked else "")
    assert found.classes[3] == "cat" and data.load("cifar10").note == found.note


def test_a_repack_that_is_not_whole_is_not_used(tmp_path, monkeypatch, coloured):
    content = photographs(coloured[0][0], coloured[1][0])
    (made,) = publish(tmp_path, monkeypatch, {"cifar10/data_batch_1.bin": content})
    monkeypatch.setitem(cifar10.REPACK, made.path, made.sha256)
    monkeypatch.setattr(cifar10, "FILE", published(b"content", path="cifar10/cifar.tar.gz"))
    with pytest.raises(data.DataError, match="cannot download .*cifar10/cifar.tar.gz by hand"):
        data.load("cifar10")


def test_cifar100_is_its_archive_with_the_fine_labels(tmp_path, monkeypatch, coloured):
    images, labels = coloured
    fine, coarse = labels * 11, labels // 2
    contents = {
        f"cifar-100-binary/{name}.bin": photographs(
            images[some].reshape(-1, 32, 32, 3), coarse[some].ravel(), fine[some].ravel()
        )
        for name, some in (("test", slice(5, 6)), ("train", slice(5)))
    }
    publish_archive(cifar100, pack_tar(contents), tmp_path, monkeypatch)
    found = data.load("cifar100")
    assert_photographs(found, images, fine)
    assert len(set(found.classes)) == 100 and list(found.classes) == sorted(found.classes)


def jpeg(colour):
    """An image of one colour, which JPEG keeps to a level or two."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_eurosat_is_read_and_split(tmp_path, monkeypatch):
    contents = {
        f"2750/{kind}/{kind}_{n}.jpg": jpeg((20 * label, 10 * n, 128))
        for label, kind in enumerate(LAND)
        for n in range(1, 11)
    }
    publish_archive(eurosat, pack(contents | {"2750/readme.txt": b""}), tmp_path, monkeypatch)
    small = data.load("eurosat")
    seen = set()
    for split, samples in ((small.train, 80), (small.test, 10), (small.validation, 10)):
        assert split.x.shape == (samples, 64, 64, 3) and split.x.dtype == np.uint8
        assert np.bincount(split.y).tolist() == [samples // 10] * 10
        red, green, blue = np.moveaxis(split.x.astype(int).mean((1, 2)), -1, 0)
        np.testing.assert_allclose(red, 20 * split.y, atol=4)
        np.testing.assert_allclose(blue, 128, atol=4)
        numbers = np.rint(green / 10).astype(int)
        assert sorted(zip(split.y, numbers)) == list(zip(split.y, numbers)), "by class and number"
        seen |= set(zip(split.y.tolist(), numbers.tolist()))
    assert len(seen) == 100, "every image once"


def test_the_split_is_what_is_written_down():
    names = [f"2750/Forest/Forest_{n}.jpg" for n in range(1, 101)]
    parts = eurosat.divide(names)
    assert {k: len(v) for k, v in parts.items()} == {"train": 80, "test": 10, "validation": 10}
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    digests = {n: hashlib.sha256(f"0/{n.split('/')[-1]}".encode()).hexdigest() for n in names}
    cut = sorted(digests.values())
    assert {digests[n] for n in parts["test"]} == set(cut[:10])
    assert {digests[n] for n in parts["validation"]} == set(cut[10:20])
    # Neither the order nor the folder decides.
    assert set(eurosat.divide(names[::-1])["test"]) == set(parts["test"])


# The array cache


def test_second_load_needs_no_source(images28, monkeypatch):
    first = data.load("mnist")
    monkeypatch.setattr(mnist, "FILES", None)
    assert_equal(first, data.load("mnist"))


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


GOOD = {
    f"{split}_{field}": array
    for split in ("train", "test")
    for field, array in (
        ("x", np.zeros((2, 28, 28, 1), np.uint8)),
        ("y", np.zeros(2, np.int32)),
    )
}
DAMAGES = {
    "cut": lambda whole: whole[: len(whole) // 2],
    # In the pixels of train_x, beyond the zip and npy headers.
    "a flipped bit": lambda whole: whole[:5000] + bytes((whole[5000] ^ 1,)) + whole[5001:],
    "empty": lambda _: b"",
    "no archive": lambda _: b"not a zip",
    "an array missing": lambda _: npz(train_x=GOOD["train_x"]),
    "another shape": lambda _: npz(**GOOD | {"train_x": np.zeros((2, 28, 28), np.uint8)}),
    "another type": lambda _: npz(**GOOD | {"train_y": np.zeros(2, np.int64)}),
    "another length": lambda _: npz(**GOOD | {"train_y": np.zeros(3, np.int32)}),
    "a pickle": lambda _: npz(**GOOD | {"train_x": np.array([{}], object)}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_said_and_rebuilt(images28, own_cache, caplog, damage):
    first = data.load("mnist")
    path = own_cache / "mnist-v1.npz"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert_equal(first, data.load("mnist"))
    assert f"{path} is rebuilt" in caplog.text
    caplog.clear()
    assert_equal(first, data.load("mnist"))
    assert not caplog.text


def test_a_cache_that_cannot_be_written_or_read_is_one_error(images28, tmp_path, monkeypatch):
    # A file, or a directory, in the way: root, who may run the tests, can do what others cannot.
    blocked = write(tmp_path / "a_file", b"") / "cache"
    monkeypatch.setenv("BSS2JAX_CACHE", str(blocked))
    with pytest.raises(data.DataError, match=f"cannot write {blocked}.* set BSS2JAX_CACHE"):
        data.load("mnist")
    (tmp_path / "other" / "mnist-v1.npz").mkdir(parents=True)
    monkeypatch.setenv("BSS2JAX_CACHE", str(tmp_path / "other"))
    with pytest.raises(data.DataError, match=r"cannot read .*mnist-v1\.npz: Is a directory"):
        data.load("mnist")


def test_a_full_disk_is_one_error_and_leaves_nothing(images28, own_cache, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(data.DataError, match=r"mnist-v1\.npz: No space left"):
        data.load("mnist")
    assert not list(own_cache.iterdir())


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("BSS2JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert originals.cache_directory() == tmp_path / "bss2jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert originals.cache_directory() == tmp_path / ".cache" / "bss2jax"


def test_several_may_load_for_the_first_time_at_once(images28, own_cache):
    loaded = []
    threads = [threading.Thread(target=lambda: loaded.append(data.load("mnist"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 4
    for each in loaded:
        assert_equal(each, loaded[0])
    assert [path.name for path in own_cache.iterdir()] == ["mnist-v1.npz"]


# Own sets

MODULE = """
import numpy as np
from bss2jax.data import Dataset, Split

made = []

def blobs():
    made.append(1)
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = (y[:, None] * 2.0 - 1 + 0.3 * rng.standard_normal((60, 4))).astype(">f4")
    split = lambda part: Split(x[part], y[part])
    parts = split(slice(40)), split(slice(40, 60))
    classes, scale = ["low", 2], np.array([2, 2, 2, 2])
    return Dataset("blobs", *parts, classes, scale, note="drawn, not measured")

ready = blobs()
number = 3

def broken():
    return {}["key"]
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The name of a module in the working directory, new for each test."""
    monkeypatch.chdir(tmp_path)
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("kind", ["blobs", "ready"])
def test_an_own_set_is_named_by_its_place(own, kind):
    place = f"{own}:{kind}"
    known, loaded = data.spec(place), data.load(place)
    assert len(sys.modules[own].made) == 1 + (kind == "blobs"), "made once for both"
    assert known == data.Spec((4,), "float32", ("low", "2"), (2.0,) * 4, 40)
    assert isinstance(loaded.train.x, np.ndarray) and loaded.train.x.dtype == np.float32
    assert os.getcwd() not in sys.path


def test_an_own_set_is_trained_on_by_its_name_in_a_config(own, tmp_path, capsys):
    (tmp_path / "own.toml").write_text(
        f'name = "own"\ndata.name = "{own}:blobs"\nrun.dir = "run"\n'
        'layers = [{ kind = "signs" }, { kind = "flatten" }, { kind = "dense", outputs = 2 }]\n'
        'phases = [{ on = "ideal", epochs = 3, batch_size = 12, learning_rate = 1 }]\n'
    )
    assert main(["train", "own.toml"]) == 0
    out = capsys.readouterr().out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["data_note"] == "drawn, not measured" and summary["data_note"] in out
    # Classes 2 apart in each of four values, spread 0.3: all 20 right, 10 by chance.
    assert summary["test_accuracy"]["ideal"] >= 0.9
    assert main(["data", "show", f"{own}:ready"]) == 0 and (tmp_path / "blobs.png").is_file()


@pytest.mark.parametrize(
    "name, said",
    [
        ("nowhere_at_all:x", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("{own}:nothing", r"{own}\.py has no 'nothing'"),
        ("{own}:number", "got 3, expected a bss2jax.data.Dataset"),
        ("{own}:broken", r"KeyError: 'key' \(.*{own}\.py, line 21\)"),
    ],
)
def test_an_own_set_that_is_none_is_one_line_that_names_the_key(own, name, said, capsys):
    name, said = name.format(own=own), said.format(own=own)
    assert main(["plan", "digits", f"data.name={name}"]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(rf"bss2jax: data\.name: {name}: .*{said}.*\n", error), error
    assert main(["data", "prepare", name]) == 2
    assert re.search(said, capsys.readouterr().err)


# The real sets


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Loads a real set, once for all tests."""
    place = tmp_path_factory.mktemp("real")

    def load(name, file):
        if not REAL or not os.path.exists(os.path.join(REAL, file)):
            pytest.skip(f"needs {file}: set BSS2JAX_DATA to the directory it is in")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BSS2JAX_DATA", REAL)
            patch.setenv("BSS2JAX_CACHE", str(place))
            return data.load(name)

    return load


def test_mnist_has_the_published_images(real):
    loaded = real("mnist", "mnist/train-images-idx3-ubyte.gz")
    assert loaded.train.x.shape == (60_000, 28, 28, 1) and loaded.test.x.shape[0] == 10_000
    assert data.spec("mnist").train == data.spec("mnist16").train == 60_000
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(loaded.train.y).tolist() == counts
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(loaded.test.y).tolist() == counts
    # The mean everyone normalises MNIST with.
    assert loaded.train.x.mean() / 255 == pytest.approx(0.1307, abs=1e-4)


def test_fashion_mnist_has_the_published_images(real):
    loaded = real("fashion_mnist", "fashion_mnist/train-images-idx3-ubyte.gz")
    assert np.bincount(loaded.train.y).tolist() == [6000] * 10
    assert np.bincount(loaded.test.y).tolist() == [1000] * 10
    # The mean everyone normalises Fashion-MNIST with.
    assert loaded.train.x.mean() / 255 == pytest.approx(0.2860, abs=1e-4)


def test_cifar10_has_the_published_images(real):
    loaded = real("cifar10", "cifar10/data_batch_1.bin")
    assert np.bincount(loaded.train.y).tolist() == [5000] * 10
    assert np.bincount(loaded.test.y).tolist() == [1000] * 10
    # The published means; the images of the re-pack that are not exact move them by 1e-7.
    means = loaded.train.x.mean((0, 1, 2)) / 255
    np.testing.assert_allclose(means, [0.49139968, 0.48215841, 0.44653091], atol=1e-6)
    assert "98 of 60,000" in loaded.note


def test_har_has_the_published_windows(real):
    loaded = real("har", "har/UCI_HAR_Dataset.zip")
    assert loaded.train.x.shape == (7352, 128, 9) and loaded.test.x.shape == (2947, 128, 9)
    assert np.bincount(loaded.train.y).tolist() == [1226, 1073, 986, 1286, 1374, 1407]
    assert np.bincount(loaded.test.y).tolist() == [496, 471, 420, 491, 532, 537]
    people = set(loaded.train.group), set(loaded.test.group)
    assert (len(people[0]), len(people[1])) == (21, 9) and not people[0] & people[1]
    # Total acceleration at rest is that of gravity, 1 g.
    assert np.linalg.norm(loaded.train.x[..., 6:], axis=-1).mean() == pytest.approx(1.0, abs=0.05)
    # Windows overlap by half: the second begins in the middle of the first.
    np.testing.assert_array_equal(loaded.train.x[0, 64:, 6:], loaded.train.x[1, :64, 6:])


@pytest.mark.slow
def test_eurosat_has_the_published_images_and_always_the_same_split(real):
    loaded = real("eurosat", "eurosat/EuroSAT.zip")
    whole = np.array([3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000])
    splits = loaded.train, loaded.test, loaded.validation
    for split, share in zip(splits, (8, 1, 1)):
        np.testing.assert_array_equal(np.bincount(split.y), whole * share // 10)
    images = [{x.tobytes() for x in split.x} for split in splits]
    assert len(set.union(*images)) == sum(map(len, images))


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A set of TensorFlow Datasets, with what it was made of."""
    tfds = pytest.importorskip("tensorflow_datasets")
    rng = np.random.default_rng(0)
    made = {
        split: (rng.integers(0, 256, (n, 5, 4, 3), np.uint8), rng.integers(0, 3, n))
        for split, n in (("train", 30), ("test", 10), ("validation", 6))
    }

    class Shelf(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "sample": tfds.features.Tensor(shape=(5, 4, 3), dtype=np.uint8),
                "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("sample", "label"),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(*both) for split, both in made.items()}

        def _generate_examples(self, x, y):
            for i, (sample, label) in enumerate(zip(x, y)):
                yield i, {"sample": sample, "label": int(label)}

    monkeypatch.setattr(tfds, "builder", partial(tfds.builder, data_dir=tmp_path))
    data._own.cache_clear()
    return made


def test_a_set_of_tensorflow_datasets_is_known_by_its_name(shelf):
    found = data.load("tfds:shelf")
    for split, (x, y) in shelf.items():
        np.testing.assert_array_equal(getattr(found, split).x, x)
        np.testing.assert_array_equal(getattr(found, split).y, y)
    known = data.spec("tfds:shelf")
    assert known.shape == (5, 4, 3) and known.classes == ("a", "b", "c")
    assert found.full_scale == 255.0


def test_a_set_that_tensorflow_datasets_does_not_have_is_one_line():
    pytest.importorskip("tensorflow_datasets")
    with pytest.raises(ValueError, match="^tfds:shelve: .*shelve[^\n]*$"):
        data.load("tfds:shelve")


def own_arrays():
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (12, 4, 4, 1), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(0, 256, (6, 4, 4, 1), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
    }


def test_a_set_in_a_file_is_its_arrays(tmp_path):
    arrays, path = own_arrays(), tmp_path / "mine.npz"
    np.savez(path, **arrays)
    found = data.load(str(path))
    assert found.name == "mine" and found.classes == ("0", "1", "2") and found.full_scale == 255
    assert np.array_equal(found.train.x, arrays["x_train"]) and found.validation is None
    np.savez(path, **arrays, classes=["a", "b", "c"], full_scale=2.0, x_validation=arrays["x_test"],
             y_validation=arrays["y_test"], group_train=np.arange(12) // 4)  # fmt: skip
    changed = data.load(str(path))
    assert changed.classes == ("a", "b", "c") and changed.full_scale == 2
    assert len(changed.validation.y) == 6 and changed.spec().grouped


@pytest.mark.parametrize(
    "change, said",
    [
        ({"x_test": None}, "no array 'x_test'; expected numpy.savez"),
        ({"y_train": np.zeros(12)}, "y_train: got float64, expected whole numbers"),
        ({"y_train": np.arange(5)}, "one a sample"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, change, said):
    arrays = {k: v for k, v in (own_arrays() | change).items() if v is not None}
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(data.DataError, match=said):
        data.load(str(tmp_path / "mine.npz"))


@pytest.mark.parametrize("split", [False, True])
def test_a_folder_of_images_is_a_set(tmp_path, split):
    pixels = np.arange(30 * 20, dtype=np.uint8).reshape(30, 5, 4)
    for i, image in enumerate(pixels):
        part = ("test" if i % 5 == 0 else "train") if split else ""
        place = tmp_path / "pets" / part / ("cat" if i < 10 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:02}.png")
    found = data.load(f"{tmp_path / 'pets'}/")
    assert found.name == "pets" and found.classes == ("cat", "dog") and found.shape == (5, 4, 1)
    assert np.array_equal(found.test.x[..., 0], pixels[::5]) and found.test.y.tolist() == [
        0,
        0,
        1,
        1,
        1,
        1,
    ]
    assert len(found.train.y) == 24
    Image.fromarray(np.zeros((6, 6), np.uint8)).save(place / "zz.png")
    with pytest.raises(data.DataError, match="zz.png: has 6x6 pixels"):
        data.load(str(tmp_path / "pets"))


def test_a_config_names_a_file_or_a_folder(tmp_path, monkeypatch):
    from bss2jax import config
    from bss2jax.experiment import prepare

    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", **own_arrays())
    text = 'name = "x"\nlayers = [{ kind = "flatten" }, { kind = "dense", outputs = 3 }]\n'
    text += 'phases = [{ on = "chip", epochs = 1, learning_rate = 1 }]\n'
    (tmp_path / "x.toml").write_text(text)
    prepared = prepare(config.load("x.toml", ["data.file=mine.npz", "data.validation=2"])[0])
    assert len(prepared.training.y) == 10 and prepared.classes == ("0", "1", "2")
    for wrong in ([], ["data.name=digits", "data.file=mine.npz"], ["data.file=mine.csv"]):
        with pytest.raises(config.ConfigError, match=r"data"):
            config.load("x.toml", [*wrong, "data.validation=2"])
    with pytest.raises(data.DataError, match="nothing: no such folder"):
        prepare(config.load("x.toml", ["data.folder=nothing"])[0])
