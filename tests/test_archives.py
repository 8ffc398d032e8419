"""EuroSAT and HAR from hand-made archives: what is read is what was packed, or a clear error."""

import hashlib
import io
import os
import stat
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from bss2jax import data
from bss2jax.data import files
from bss2jax.data.archive import Archive

LAND = data.spec("eurosat").classes


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An empty cache and no data directory for each test."""
    path = tmp_path / "cache"
    monkeypatch.setenv("BSS2JAX_CACHE", str(path))
    monkeypatch.delenv("BSS2JAX_DATA", raising=False)
    return path


def pack(contents):
    """A zip archive of these files, bytes by path; paths may also be `ZipInfo`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def publish(module, content, tmp_path, monkeypatch, repack=False):
    """Puts an archive into `$BSS2JAX_DATA` as if it were the official one, or a repack of it."""
    sha256 = hashlib.sha256(content).hexdigest()
    known = {"size": len(content), "sha256": sha256, "repacks": ()}
    if repack:
        known = {"size": 1, "sha256": "0" * 64, "repacks": ((len(content), sha256),)}
    source = files.replace(module.FILE, url="https://not.reachable.invalid/", **known)
    monkeypatch.setattr(module, "FILE", source)
    path = tmp_path / "data" / source.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    monkeypatch.setenv("BSS2JAX_DATA", str(tmp_path / "data"))
    return path


# Archives


def entry(name, mode=stat.S_IFREG | 0o644):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def test_an_archive_gives_back_what_was_packed():
    with Archive(io.BytesIO(pack({"a/": b"", "a/b.txt": b"one", "c": b""})), "x.zip") as archive:
        assert archive.names == ("a/b.txt", "c")
        assert archive.read("a/b.txt") == b"one" and archive.read("c") == b""
        with pytest.raises(data.DataError, match=r"x.zip: no d in it\. Replace"):
            archive.read("d")


@pytest.mark.parametrize(
    "name, problem",
    [
        ("../out", "leads out"),
        ("a/../../out", "leads out"),
        ("/etc/out", "leads out"),
        ("..\\out", "leads out"),
        (entry("link", stat.S_IFLNK | 0o777), "is a link"),
        (entry("pipe", stat.S_IFIFO | 0o644), "is a link or another"),
    ],
)
def test_an_entry_that_could_do_harm_is_refused_before_anything_is_read(name, problem):
    content = pack({"good": b"1", name: b"/etc/passwd"})
    with pytest.raises(data.DataError, match=f"x.zip: .*{problem}.*Replace the file"):
        Archive(io.BytesIO(content), "x.zip")


def test_a_path_twice_is_refused():
    with pytest.warns(UserWarning, match="Duplicate"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("a", b"1")
            archive.writestr("a", b"2")
    with pytest.raises(data.DataError, match="'a' in it occurs twice"):
        Archive(buffer, "x.zip")


def directory_field(content, offset, value, form):
    """Overwrites a field in the first entry of an archive's directory."""
    content = bytearray(content)
    struct.pack_into(form, content, content.index(b"PK\x01\x02") + offset, value)
    return bytes(content)


def test_an_encrypted_entry_is_refused():
    content = directory_field(pack({"a": b"1"}), 8, 1, "<H")
    with pytest.raises(data.DataError, match="'a' in it is encrypted"):
        Archive(io.BytesIO(content), "x.zip")


def test_an_archive_that_says_it_unpacks_to_too_much_is_refused():
    content = directory_field(pack({"a": b"1"}), 24, (1 << 30) + 1, "<I")
    with pytest.raises(data.DataError, match="unpack to over"):
        Archive(io.BytesIO(content), "x.zip")


@pytest.mark.parametrize("said", [999, 1001], ids=["more", "less"])
def test_an_entry_that_unpacks_to_another_size_than_it_says_is_refused(said):
    # A bomb says it is small.
    content = directory_field(pack({"a": b"0" * 1000}), 24, said, "<I")
    with Archive(io.BytesIO(content), "x.zip") as archive, pytest.raises(data.DataError, match="a"):
        archive.read("a")


def test_a_bomb_is_not_unpacked_beyond_what_it_says():
    content = directory_field(pack({"a": bytes(1 << 26)}), 24, 100, "<I")
    with Archive(io.BytesIO(content), "x.zip") as archive:
        with pytest.raises(data.DataError, match="'a' in it"):
            archive.read("a")


@pytest.mark.parametrize("damage", [lambda c: c[:-30], lambda c: b"", lambda c: b"no zip" * 99])
def test_what_is_no_archive_is_refused_by_name(damage):
    with pytest.raises(data.DataError, match=r"cannot open x.zip: .*Replace the file"):
        Archive(io.BytesIO(damage(pack({"a": b"1"}))), "x.zip")


def test_a_flipped_bit_is_noticed():
    content = bytearray(pack({"a": bytes(range(256)) * 4}))
    content[60] ^= 1
    with Archive(io.BytesIO(bytes(content)), "x.zip") as archive:
        with pytest.raises(data.DataError, match="'a' in it cannot be unpacked"):
            archive.read("a")


# HAR


def table(values):
    """Numbers as in the original: 16 characters each, CRLF."""
    lines = ["".join(f"{v:16.7e}" for v in np.atleast_1d(row)) for row in values]
    return ("\r\n".join(lines) + "\r\n").encode()


def har_files(train=5, test=3, seed=0):
    """A small HAR: its files by path, and its signals by split."""
    from bss2jax.data import har

    rng = np.random.default_rng(seed)
    contents, signals = {"UCI HAR Dataset/README.txt": b"", "__MACOSX/._x": b""}, {}
    for split, samples, person in (("train", train, 1), ("test", test, 2)):
        folder = f"UCI HAR Dataset/{split}"
        signals[split] = rng.normal(0, 0.5, (samples, 128, 9))
        contents[f"{folder}/y_{split}.txt"] = b"\n".join(b"%d" % (1 + i) for i in range(samples))
        contents[f"{folder}/subject_{split}.txt"] = b"%d\n" % person * samples
        for i, name in enumerate(har.SIGNALS):
            path = f"{folder}/Inertial Signals/{name}_{split}.txt"
            contents[path] = table(signals[split][:, :, i])
    return contents, signals


@pytest.mark.parametrize("form", ["original", "repack", "download"])
def test_har_is_read_from_all_its_archives(tmp_path, monkeypatch, form):
    from bss2jax.data import har

    contents, signals = har_files()
    content = pack(contents)
    if form == "download":
        monkeypatch.setattr(har, "_ORIGINAL_SHA256", hashlib.sha256(content).hexdigest())
        content = pack({har._ORIGINAL: content, "UCI HAR Dataset.names": b""})
    publish(har, content, tmp_path, monkeypatch, repack=form == "repack")
    small = data.load("har")
    for split, person in (("train", 1), ("test", 2)):
        found = getattr(small, split)
        assert found.x.dtype == np.float32 and found.group.dtype == np.int32
        # Seven digits are written.
        np.testing.assert_allclose(found.x, signals[split], rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(found.y, np.arange(len(found.y)))
        assert set(found.group) == {person}
    assert small.shape == (128, 9) and len(small.full_scale) == 9 and small.validation is None
    again = data.load("har")  # from the cache
    np.testing.assert_array_equal(again.train.group, small.train.group)
    np.testing.assert_array_equal(again.test.x, small.test.x)


def test_a_download_with_another_original_inside_is_refused(tmp_path, monkeypatch):
    from bss2jax.data import har

    content = pack({har._ORIGINAL: pack(har_files()[0])})
    path = publish(har, content, tmp_path, monkeypatch)
    with pytest.raises(data.DataError, match="UCI HAR Dataset.zip in .*got sha256") as error:
        data.load("har")
    assert str(path) in str(error.value)


TRAIN = "UCI HAR Dataset/train/"
BODY = f"{TRAIN}Inertial Signals/body_acc_x_train.txt"


@pytest.mark.parametrize(
    "name, content, said",
    [
        (BODY, None, "no .*body_acc_x_train.txt in it"),
        (BODY, b"", "got 0 numbers"),
        (BODY, table(np.zeros((5, 127))), "got 635 numbers in 5 lines, expected 128"),
        (BODY, table(np.zeros((4, 128))), "has 4 windows; there are 5 labels and 5 people"),
        (BODY, table(np.zeros((5, 128)))[:-40], "got 638 numbers in 5 lines"),
        (BODY, b"1 2 x\n", "not a table of numbers"),
        (BODY, b"\xff\xfe", "not a table of numbers"),
        (BODY, table(np.full((5, 128), np.nan)), "expected 128 finite ones"),
        (f"{TRAIN}y_train.txt", b"1\n2\n7\n3\n4\n", "y_train.txt: expected whole numbers 1..6"),
        (f"{TRAIN}y_train.txt", b"1\n2\n0.5\n3\n4\n", "expected whole numbers 1..6"),
        (f"{TRAIN}subject_train.txt", b"1\n" * 4, "5 labels and 4 people"),
        (f"{TRAIN}subject_train.txt", b"31\n" * 5, "expected whole numbers 1..30"),
    ],
    ids=lambda v: str(v)[:20] if isinstance(v, str) else "",
)
def test_wrong_har_files_are_refused_by_name(tmp_path, monkeypatch, name, content, said):
    from bss2jax.data import har

    contents, _ = har_files()
    contents.pop(name)
    path = publish(
        har, pack(contents | ({} if content is None else {name: content})), tmp_path, monkeypatch
    )
    with pytest.raises(data.DataError, match=said) as error:
        har.read(path, "train")
    assert str(path) in str(error.value) and "Replace the file" in str(error.value)


# EuroSAT


def jpeg(colour, size=(64, 64), mode="RGB", form="JPEG"):
    """An image of one colour, which JPEG keeps to a level or two."""
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, form, quality=95)
    return buffer.getvalue()


def eurosat_files(number=10):
    """A small EuroSAT: `number` images a class, the class as red, the number as green."""
    return {
        f"2750/{kind}/{kind}_{n}.jpg": jpeg((20 * label, 10 * n, 128))
        for label, kind in enumerate(LAND)
        for n in range(1, number + 1)
    }


@pytest.mark.parametrize("repack", [False, True])
def test_eurosat_is_read_and_split(tmp_path, monkeypatch, repack):
    from bss2jax.data import eurosat

    contents = eurosat_files() | {"2750/readme.txt": b"", "2750/Sea/Sea_1.jpg": b"not a class"}
    publish(eurosat, pack(contents), tmp_path, monkeypatch, repack)
    small = data.load("eurosat")
    seen = set()
    for split, samples in ((small.train, 80), (small.test, 10), (small.validation, 10)):
        assert split.x.shape == (samples, 64, 64, 3) and split.x.dtype == np.uint8
        assert np.bincount(split.y).tolist() == [samples // 10] * 10
        red, green, blue = np.moveaxis(split.x.astype(int).mean((1, 2)), -1, 0)
        np.testing.assert_allclose(red, 20 * split.y, atol=4)
        np.testing.assert_allclose(blue, 128, atol=4)
        seen |= set(zip(split.y.tolist(), np.rint(green / 10).astype(int).tolist()))
    assert len(seen) == 100, "every image once"
    assert small.full_scale == 255 and small.classes == LAND
    np.testing.assert_array_equal(data.load("eurosat").validation.x, small.validation.x)


def test_the_split_is_what_is_written_down():
    from bss2jax.data import eurosat

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


@pytest.mark.parametrize(
    "content, said",
    [
        (b"no image", "no JPEG"),
        (jpeg((1, 2, 3))[:200], "no JPEG"),
        (jpeg((1, 2, 3), form="PNG"), "no JPEG"),
        (jpeg((1, 2, 3), size=(64, 65)), r"got RGB of \(64, 65\)"),
        (jpeg((1, 2, 3), size=(4000, 4000)), r"got RGB of \(4000, 4000\)"),
        (jpeg(7, mode="L"), "got L of"),
    ],
    ids=["text", "cut", "png", "size", "large", "grey"],
)
def test_wrong_images_are_refused_by_name(tmp_path, monkeypatch, content, said):
    from bss2jax.data import eurosat

    name = "2750/River/River_3.jpg"
    path = publish(eurosat, pack(eurosat_files() | {name: content}), tmp_path, monkeypatch)
    with pytest.raises(data.DataError, match=said) as error:
        data.load("eurosat")
    assert str(path) in str(error.value) and name in str(error.value)


def test_a_class_with_too_few_images_is_refused(tmp_path, monkeypatch):
    from bss2jax.data import eurosat

    publish(eurosat, pack(eurosat_files(number=9)), tmp_path, monkeypatch)
    with pytest.raises(data.DataError, match="got 9 images 2750/AnnualCrop/AnnualCrop_N.jpg"):
        data.load("eurosat")


@pytest.mark.parametrize("name", ["eurosat", "har"])
def test_a_wrong_archive_is_an_error_that_names_all_good_sizes(tmp_path, monkeypatch, name):
    from importlib import import_module

    source = import_module(f"bss2jax.data.{name}").FILE
    path = tmp_path / "data" / source.path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK")
    monkeypatch.setenv("BSS2JAX_DATA", str(tmp_path / "data"))
    with pytest.raises(data.DataError, match="got 2 bytes, expected") as error:
        data.load(name)
    for part in (path, source.size, *(size for size, _ in source.repacks)):
        assert str(part) in str(error.value)


def test_sources_are_https_and_named_by_a_sha256():
    from bss2jax.data import eurosat, har, mnist

    for source in (eurosat.FILE, har.FILE, *sum(mnist.FILES.values(), ())):
        assert source.url.startswith("https://")
        for size, digest in ((source.size, source.sha256), *source.repacks):
            assert size > 0 and len(digest) == 64 and int(digest, 16)


def test_a_download_must_be_the_original_and_no_repack(tmp_path, monkeypatch):
    original, repack = b"original", b"packed anew"
    source = files.SourceFile(
        "x.zip",
        "https://not.reachable.invalid/x.zip",
        len(original),
        hashlib.sha256(original).hexdigest(),
        repacks=((len(repack), hashlib.sha256(repack).hexdigest()),),
    )
    monkeypatch.setattr(files, "_chunks", lambda _: [repack])
    with pytest.raises(data.DataError, match="got 11 bytes, expected 8"):
        files.locate(source)
    monkeypatch.setattr(files, "_chunks", lambda _: [original])
    assert files.locate(source).read_bytes() == original


# The real sets


REAL = os.environ.get("BSS2JAX_DATA")


def needs(name):
    """Skips unless the real archive is at hand."""
    if not REAL or not os.path.exists(os.path.join(REAL, name)):
        pytest.skip(f"needs {name}: set BSS2JAX_DATA to the directory it is in")


def prepare(name, cache):
    """Prepares a set in a process of its own; says whether TensorFlow was imported."""
    code = (
        f"import sys; from bss2jax import data; data.load({name!r}); "
        "print('tensorflow' in sys.modules)"
    )
    path = os.pathsep.join(filter(None, sys.path))
    env = os.environ | {"PYTHONPATH": path, "BSS2JAX_CACHE": str(cache), "BSS2JAX_DATA": REAL}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    return done.stdout.strip(), done.stderr


def quickly(name):
    """Loads a prepared set; the best of three times, as the machine may be busy."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        loaded = data.load(name)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 3
    return loaded


def test_har_has_the_published_windows(own_cache):
    needs("har/UCI_HAR_Dataset.zip")
    out, err = prepare("har", own_cache)
    assert out == "False", err
    har = quickly("har")
    assert har.train.x.shape == (7352, 128, 9) and har.test.x.shape == (2947, 128, 9)
    assert np.bincount(har.train.y).tolist() == [1226, 1073, 986, 1286, 1374, 1407]
    assert np.bincount(har.test.y).tolist() == [496, 471, 420, 491, 532, 537]
    people = set(har.train.group), set(har.test.group)
    assert (len(people[0]), len(people[1])) == (21, 9) and not people[0] & people[1]
    # Total acceleration at rest is that of gravity, 1 g.
    assert np.linalg.norm(har.train.x[..., 6:], axis=-1).mean() == pytest.approx(1.0, abs=0.05)
    # Windows overlap by half: the second begins in the middle of the first.
    np.testing.assert_array_equal(har.train.x[0, 64:, 6:], har.train.x[1, :64, 6:])


@pytest.mark.slow
def test_eurosat_has_the_published_images_and_always_the_same_split(own_cache):
    needs("eurosat/EuroSAT.zip")
    out, err = prepare("eurosat", own_cache)
    assert out == "False", err
    eurosat = quickly("eurosat")
    whole = np.array([3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000])
    for split, share in ((eurosat.train, 8), (eurosat.test, 1), (eurosat.validation, 1)):
        np.testing.assert_array_equal(np.bincount(split.y), whole * share // 10)
    images = [{x.tobytes() for x in s.x} for s in (eurosat.train, eurosat.test, eurosat.validation)]
    assert len(set.union(*images)) == sum(map(len, images))
