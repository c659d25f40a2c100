"""Pictures of every mode that Pillow opens keep what they show, or are left out by name."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageCms

from supernet.data import DataError, Decoding, load_dataset
from supernet.data.fitting import Fit
from supernet.data.images import Decoder
from supernet.data.pictures import NotShown, White, opened
from tests.tiny_data import encoded

# A grey ramp, 8 bits.
RAMP = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
GREY = Image.fromarray(RAMP)


def tiff(image: Image.Image) -> bytes:
    return encoded(image, "TIFF")


def lab() -> Image.Image:
    srgb, wanted = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(GREY.convert("RGB"), srgb, wanted, outputMode="LAB")


def two_frames(form: str) -> bytes:
    buffer = io.BytesIO()
    GREY.save(buffer, form, save_all=True, append_images=[Image.new("L", GREY.size, 255)])
    return buffer.getvalue()


def with_alpha(mode: str, alpha: int = 255) -> Image.Image:
    whole = GREY.convert("LA" if mode == "LA" else "RGBA")
    whole.putalpha(Image.new("L", GREY.size, alpha))
    return whole


def big_endian() -> Image.Image:
    return Image.frombytes("I;16B", GREY.size, (RAMP.astype(">u2") * 257).astype(">u2").tobytes())


FILES = {
    "L": encoded(GREY),
    "RGB": encoded(GREY.convert("RGB")),
    "P": encoded(GREY.convert("P")),
    "PA": tiff(GREY.convert("P").convert("PA")),
    "LA": encoded(with_alpha("LA")),
    "RGBA": encoded(with_alpha("RGBA")),
    "CMYK": tiff(GREY.convert("RGB").convert("CMYK")),
    "CMYK as JPEG": encoded(GREY.convert("RGB").convert("CMYK"), "JPEG"),
    "YCbCr": tiff(GREY.convert("RGB").convert("YCbCr")),
    "LAB": tiff(lab()),
    "16 bits": encoded(Image.fromarray(RAMP.astype(np.uint16) * 257)),
    "12 bits in 16": encoded(Image.fromarray(np.array([[0, 4080]] * 2, dtype=np.uint16))),
    "16 bits, big-endian": tiff(big_endian()),
    "32 bits": tiff(Image.fromarray(RAMP.astype(np.int32) * 257)),
    "floats to 1": tiff(Image.fromarray(np.where(RAMP == 248, 255, RAMP).astype(np.float32) / 255)),
    "floats to 255": tiff(Image.fromarray(RAMP.astype(np.float32))),
    "GIF of two frames": two_frames("GIF"),
    "WebP of two frames": two_frames("WEBP"),
    "TIFF of two pages": two_frames("TIFF"),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_ramp_is_a_ramp_in_every_mode(kind, channels):
    pixels = Decoder(32, channels).decode(FILES[kind])
    assert pixels is not None
    assert pixels.shape == (channels, 32, 32)
    if kind == "12 bits in 16":
        assert (pixels.min(), pixels.max()) == (0, 255)
        return
    away = np.abs(pixels.astype(int) - RAMP)
    # Colour spaces and lossy compression round.
    allowed = 8 if kind in ("floats to 1", "WebP of two frames") else 3
    assert away.max() <= allowed
    assert away.mean() < 1.5


def test_one_bit_and_black_on_transparent_keep_their_contrast():
    bits = Decoder(32, 1).decode(encoded(Image.fromarray(RAMP > 127)))
    assert set(np.unique(bits)) == {0, 255}
    for colour in (0, 255):
        glyph = Image.merge(
            "LA", [Image.new("L", (32, 32), colour), Image.fromarray(np.where(RAMP > 127, 255, 0).astype(np.uint8))]
        )
        shown = Decoder(32, 1).decode(encoded(glyph))
        assert set(np.unique(shown)) == {0, 255}
    palette = GREY.convert("P")
    palette.info["transparency"] = 0
    assert len(np.unique(Decoder(32, 1).decode(encoded(palette)))) > 10


def test_a_picture_of_no_opacity_keeps_its_colours():
    assert np.array_equal(Decoder(32, 1).decode(encoded(with_alpha("LA", alpha=0)))[0], RAMP)


def test_pictures_are_turned_as_their_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the top of the file is the right side of the picture
    buffer = io.BytesIO()
    GREY.save(buffer, "JPEG", exif=exif, quality=95)
    pixels = Decoder(32, 1).decode(buffer.getvalue())
    assert np.abs(pixels[0].astype(int) - RAMP.T).max() < 12


@pytest.mark.parametrize("values", [[-5.0, 2.0], [0.0, np.nan], [0.0, 1e9]])
def test_numbers_without_a_white_are_left_out_by_name(tmp_path, values):
    for name, count in (("a", 10), ("b", 10)):
        (tmp_path / name).mkdir()
        for i in range(count):
            GREY.rotate(90 * i).save(tmp_path / name / f"{i}.png")
    Image.fromarray(np.tile(np.array(values, dtype=np.float32), (4, 2))).save(tmp_path / "a" / "scan.tif")
    data = load_dataset("images", 0, {"path": str(tmp_path), "size": 8, "corrupt_share": 0.1})
    (note,) = data.notes
    assert "a/scan.tif (pixels from" in note
    (left,) = data.inventory.left_out
    assert "nothing says which value is white" in left.why
    assert data.inventory.used == 20


def test_a_picture_too_long_and_thin_to_be_resized_is_left_out():
    thread = encoded(Image.new("L", (1, 60_000)))
    heard = []
    fitted = Decoder(64, 1, Fit(4096, True, "bicubic", 64), hear=heard.append)
    assert fitted.decode(thread) is None
    assert "too long and thin" in str(heard[-1])
    assert Decoder(64, 1).decode(thread) is not None


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(NotShown, match="cannot be read: Is a directory"):
        opened(tmp_path, 1, None)


# --- sets -------------------------------------------------------------------------------------------


def deep_set(folder, dark, light, parts=("",)):
    rng = np.random.default_rng(0)
    for part in parts:
        for name, level in (("dark", dark), ("light", light)):
            (folder / part / name).mkdir(parents=True)
            for i in range(10):
                pixels = level + rng.integers(0, 90, (8, 8))
                Image.fromarray(pixels.astype(np.uint16)).save(folder / part / name / f"{i}.png")
    return {"path": str(folder), "size": 8, "channels": 1, "validation_share": 0.25}


def test_deep_pictures_of_a_set_have_one_white(tmp_path):
    """A dark picture whose largest value is that of 12 bits stays dark beside a light one of 16."""
    data = load_dataset("images", 0, deep_set(tmp_path, 2000, 60000))
    means = [data.train.stored[data.train.y == label].float().mean().item() for label in (0, 1)]
    assert means == pytest.approx([2045 / 257, 60045 / 257], abs=1)
    assert data.inventory.remarks == (
        "40 images have more than 8 bits a pixel: values are scaled to 8 bits, and 65535 is white.".replace("40", "20"),
    )


def test_twelve_bits_of_a_set_are_not_almost_black(tmp_path):
    data = load_dataset("images", 0, deep_set(tmp_path, 200, 3900))
    means = [data.train.stored[data.train.y == label].float().mean().item() for label in (0, 1)]
    assert means == pytest.approx([245 / 16, 3945 / 16], abs=1)


def test_parts_of_a_set_have_one_white_on_the_disk_as_in_memory(tmp_path):
    options = deep_set(tmp_path / "source", 200, 3900, ("train", "test"))
    rng = np.random.default_rng(1)
    for i in range(10):  # all test images are darker than any white
        Image.fromarray(rng.integers(0, 200, (8, 8)).astype(np.uint16)).save(
            tmp_path / "source" / "test" / "light" / f"{i}.png"
        )
    memory = load_dataset("images", 0, options)
    decoding = Decoding(tmp_path / "datasets")
    for _ in range(2):
        disk = load_dataset("images", 0, {**options, "storage": "disk"}, decoding)
        assert disk.test.stored[:].tolist() == memory.test.stored[:].tolist()
        assert disk.inventory == memory.inventory
        assert memory.test.stored.max() < 20


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_set_that_shows_nothing_is_refused(tmp_path, storage):
    for name in ("a", "b"):
        (tmp_path / "source" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("L", (8, 8), 255).save(tmp_path / "source" / name / f"{i}.png")
    options = {"path": str(tmp_path / "source"), "size": 8, "storage": storage}
    with pytest.raises(DataError, match="Every pixel of the 14 train images of source has the same value"):
        load_dataset("images", 0, options, Decoding(tmp_path / "datasets"))


def test_frames_and_transparency_are_counted(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(8):
            GREY.rotate(90 * i).save(tmp_path / name / f"{i}.png")
    (tmp_path / "a" / "film.gif").write_bytes(FILES["GIF of two frames"])
    (tmp_path / "b" / "glass.png").write_bytes(encoded(with_alpha("RGBA", 100)))
    remarks = load_dataset("images", 0, {"path": str(tmp_path), "size": 8}).inventory.remarks
    assert [remark.split(":")[0] for remark in remarks] == [
        "1 image has several frames or pages",
        "1 image has transparent pixels",
    ]


def test_the_size_of_validation_pictures_is_as_stated(tmp_path):
    """Scaled to 16 and the centre of 8 cut: half of the width is seen, and the data say so."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(8):
            GREY.rotate(90 * (i % 2)).save(tmp_path / name / f"{i}.png")
    words = {"path": str(tmp_path), "size": 8, "channels": 1}
    data = load_dataset("images", 0, {**words, "resize": 16})
    assert data.preprocessing["resize"] == "shorter side resized to 16 pixels (bicubic), centre of 8 pixels"
    expected = np.asarray(GREY.resize((16, 16), Image.Resampling.BICUBIC).crop((4, 4, 12, 12)))
    assert any(np.array_equal(image[0], expected) for image in data.train.stored.numpy())
    whole = load_dataset("images", 0, words)
    assert whole.preprocessing["resize"] == "shorter side resized to 8 pixels (bicubic), centre of 8 pixels"
    with pytest.raises(ValueError, match="resize 7 and size 8"):
        load_dataset("images", 0, {**words, "resize": 7})


def test_a_decoder_alone_takes_the_white_of_the_file():
    dark = Image.fromarray(np.array([[0, 100], [200, 255]], dtype=np.uint16))
    assert Decoder(2, 1).decode(encoded(dark)).tolist() == [[[0, 100], [200, 255]]]
    set_wide = replace(Decoder(2, 1), white=White(ints=65535))
    assert set_wide.decode(encoded(dark)).max() == 1
