"""Images as inputs: every kind of file that people have becomes the same 8-bit RGB, every fault is one line."""

from __future__ import annotations

import io
import pickle
import tracemalloc

import numpy as np
import PIL.Image
import pytest
from pictures import pixels, write

from promptology.data.images import LARGE, Image, as_image, is_image
from promptology.data.items import Item, digest
from promptology.data.splits import hold_out
from promptology.errors import UsageError


def encoded(picture, form="PNG", **options):
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def one_line(words, act):
    with pytest.raises(UsageError) as caught:
        act()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1", "LA", "YCbCr"])
def test_every_mode_becomes_rgb(mode, tmp_path):
    picture = PIL.Image.fromarray(pixels()).convert(mode)
    form = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(encoded(picture, form))
    found = Image(path).rgb()
    assert (found.mode, found.size) == ("RGB", (30, 40))
    expected = np.asarray(PIL.Image.open(path).convert("RGB")).astype(int)
    assert np.abs(np.asarray(found).astype(int) - expected).max() <= 1


def test_sixteen_bits_of_grey_keep_their_shades(tmp_path):
    deep = (np.arange(40 * 30).reshape(40, 30) * 54).astype(np.uint16)
    PIL.Image.fromarray(deep).save(tmp_path / "deep.png")
    found = np.asarray(Image(tmp_path / "deep.png").rgb())
    assert np.abs(found[..., 0].astype(float) - deep / 257).max() <= 0.5
    share = np.linspace(0, 1, 1200, dtype=np.float32).reshape(40, 30)
    PIL.Image.fromarray(share).save(tmp_path / "float.tiff")
    assert np.abs(np.asarray(Image(tmp_path / "float.tiff").rgb())[..., 1] / 255 - share).max() <= 0.002


def test_what_the_camera_noted_is_turned_upright():
    picture = PIL.Image.fromarray(pixels())
    for orientation, turn in ((6, PIL.Image.Transpose.ROTATE_270), (2, PIL.Image.Transpose.FLIP_LEFT_RIGHT)):
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        found = Image(encoded(picture, exif=exif)).rgb()
        assert np.array_equal(np.asarray(found), np.asarray(picture.transpose(turn)))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_twenty_megapixels_are_reduced_as_they_are_decoded(form):
    body = encoded(PIL.Image.new("RGB", (5000, 4000), (200, 30, 90)), form)
    image = Image(body, "large")
    tracemalloc.start()
    found = image.rgb(224)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert min(found.size) >= 2 * 224 and found.width * found.height <= LARGE
    assert found.width / found.height == pytest.approx(1.25, abs=0.01)
    assert peak < 20_000_000  # Python's own share: no copy of 60 MB passes through an array
    assert np.abs(np.asarray(found).reshape(-1, 3).astype(int) - (200, 30, 90)).max() <= 3
    assert Image(body).rgb().size == (5000, 4000)


def test_one_pixel():
    assert Image(encoded(PIL.Image.new("RGB", (1, 1)))).rgb(224).size == (1, 1)


def test_faults_are_one_line_with_the_file(tmp_path):
    body = encoded(PIL.Image.fromarray(pixels(0, 200, 200)), "JPEG")
    for name, content, why in (
        ("cut.jpg", body[: len(body) // 2], "truncated"),
        ("cut.png", encoded(PIL.Image.fromarray(pixels(0, 200, 200)))[:3000], "cannot be read"),
        ("text.jpg", b"not an image", "no image"),
        ("empty.png", b"", "no image"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        one_line([str(path), why], Image(path).rgb)
    one_line(["gone.png", "No such file"], Image(tmp_path / "gone.png").rgb)
    one_line(["row 3", "does not exist"], lambda: as_image("nowhere.png", "row 3", tmp_path))
    one_line(["row 3", "address"], lambda: as_image("https://a.b/c.png", "row 3"))
    one_line(["float64", "uint8"], lambda: as_image(np.zeros((2, 2, 3))))
    one_line(["int is no image"], lambda: as_image(3))
    one_line(["does not exist"], lambda: as_image("a\0b"))


def test_the_same_content_is_the_same_image(tmp_path):
    one, other = write(tmp_path / "a.png"), write(tmp_path / "b.png")
    third = write(tmp_path / "c.png", 1)
    a, b, c = Image(one), Image(other), Image(third)
    assert a == b == Image(one.read_bytes()) and a != c and len({a, b, c}) == 2
    assert a == pickle.loads(pickle.dumps(a))
    assert a != "a.png" and str(a) == str(one)
    assert digest({"image": a}) == digest({"image": b}) != digest({"image": c})
    array = pixels()
    assert as_image(array) == as_image(array.copy()) != as_image(array[:, ::-1])
    assert np.array_equal(np.asarray(as_image(array).rgb()), array)
    assert as_image(PIL.Image.fromarray(array)) == as_image(PIL.Image.fromarray(array.copy()))


def test_splits_keep_equal_images_together(tmp_path):
    paths = [write(tmp_path / f"{n}.png", n % 4) for n in range(16)]
    items = [Item(str(n), {"image": Image(p)}, "ab"[n % 2]) for n, p in enumerate(paths)]
    rest, held = hold_out(items, 0.5, 0)
    assert held and not {i.inputs["image"] for i in rest} & {i.inputs["image"] for i in held}


def test_what_counts_as_an_image(tmp_path):
    body = encoded(PIL.Image.fromarray(pixels()))
    assert is_image(body) and is_image({"bytes": body, "path": None}) and is_image(pixels())
    assert not is_image("a.png") and not is_image(np.zeros(3)) and not is_image({"path": "a.png"})
    assert as_image({"bytes": body, "path": "x/y.png"}, "row 1").name == "row 1 (y.png)"
    write(tmp_path / "z.png")
    assert as_image({"bytes": None, "path": "z.png"}, "row 1", tmp_path).rgb().size == (30, 40)
