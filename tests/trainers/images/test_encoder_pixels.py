"""Tests that pixels equal the stock image processor's for any file, and that unusable images are refused by name."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from evaluation.loading import InputError
from evaluation.scoring.encoder import content_id
from tests.trainers.images.encoded_images import KINDS, READER, dataset, encoded, picture, stock
from trainers.images.encoder_pixels import PixelReader, normalization_of, normalize_pixels


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_the_stock_processor(kind):
    rows = dataset([KINDS[kind]])
    pixels, image_id = READER(KINDS[kind], kind)
    assert pixels.dtype == np.uint8
    assert pixels.flags["C_CONTIGUOUS"]
    assert np.array_equal(pixels, stock(rows, do_rescale=False, do_normalize=False)[0])
    assert image_id == content_id(rows[0]["image"].convert("RGB").tobytes())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
        {"do_normalize": False},
        {"do_rescale": False},
        {"rescale_factor": 1 / 128},
    ],
    ids=["SigLIP", "ImageNet", "not normalized", "not rescaled", "another factor"],
)
def test_normalized_pixels_are_those_of_the_stock_processor(settings):
    rows = dataset(list(KINDS.values()))
    pixels = torch.from_numpy(np.stack([READER(data, "")[0] for data in KINDS.values()]))
    ours = normalize_pixels(pixels, **normalization_of(SiglipImageProcessorPil(**settings)))
    theirs = torch.from_numpy(stock(rows, **settings))
    assert ours.dtype == torch.float32
    assert ours.shape == (len(KINDS), 3, READER.height, READER.width)
    assert (ours - theirs).abs().max() <= 1e-6 * max(1.0, float(theirs.abs().max()))


def test_what_is_normalized_already_is_left_alone():
    floats = torch.randn(2, 3, 4, 4)
    assert normalize_pixels(floats, [0.5], [0.5]) is floats


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_draft_takes_the_next_larger_eighth_of_a_jpeg_and_leaves_a_png_alone(kind):
    image = picture(3, 1200, 900)
    data = encoded(image, kind, **({"quality": 95} if kind == "JPEG" else {}))
    plain, draft = (PixelReader(64, 64, 3, draft=draft)(data, "") for draft in (False, True))
    with Image.open(io.BytesIO(data)) as opened:
        opened.draft(None, (64, 64))
        assert opened.size == ((150, 113) if kind == "JPEG" else (1200, 900))
    difference = np.abs(plain[0].astype(int) - draft[0])
    if kind == "PNG":
        assert difference.max() == 0
        assert plain[1] == draft[1]
    else:
        assert 0 < difference.max() <= 16
        assert difference.mean() < 1


def forged_size(width: int, height: int) -> bytes:
    """A PNG file that claims to be larger than it is, in a header with the right checksum."""
    import zlib

    data = bytearray(encoded(picture()))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


DAMAGED = {
    "a cut JPEG": (KINDS["JPEG"][:1500], "truncated"),
    "a cut PNG": (KINDS["PNG"][:1500], "truncated"),
    "no image": (b"left lung clear", "not a readable JPEG or PNG"),
    "nothing": (b"", "not a readable JPEG or PNG"),
    "a GIF": (encoded(picture(), "GIF"), "not a readable JPEG or PNG"),
    "a TIFF": (encoded(picture(), "TIFF"), "not a readable JPEG or PNG"),
    "16 bits": (encoded(Image.fromarray(np.full((9, 9), 40_000, np.uint16))), "more than 8 bits"),
    "too many pixels": (forged_size(9_000, 9_000), "9000 x 9000 pixels"),
    "far too many pixels": (forged_size(2**30, 2**30), "decompression bomb"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_cannot_be_read_is_named_with_its_row(kind):
    data, message = DAMAGED[kind]
    with pytest.raises(InputError, match=message) as error:
        READER(data, "--dataset, row 7 (images/7.png)")
    assert "row 7 (images/7.png)" in str(error.value)
    assert "`medpairs build`" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_processor_decides_size_and_filter():
    processor = SiglipImageProcessorPil(size={"height": 448, "width": 384}, resample=Image.Resampling.BILINEAR)
    assert PixelReader.of(processor, draft=True) == PixelReader(448, 384, Image.Resampling.BILINEAR, draft=True)


def test_a_processor_that_crops_is_refused():
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    with pytest.raises(InputError, match=r"CLIPImageProcessorPil.*do_center_crop"):
        PixelReader.of(CLIPImageProcessorPil())
