"""Tests that tiles equal the stock image processor's for any file and size, and that unusable images are refused."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from evaluation.loading import InputError
from tests.trainers.chat_images import READER, TILE, chat_dataset, gray_values, image_processor, stock_of
from tests.trainers.images.encoded_images import KINDS, encoded, picture, turned, with_alpha
from tests.trainers.images.test_encoder_pixels import DAMAGED
from trainers.images.decoder_tiles import TileReader, ends_with_pixels, scatter_tiles, unpack_tiles
from trainers.images.encoded import check_depth
from trainers.images.encoder_pixels import normalization_of, normalize_pixels

RAW = {"do_rescale": False, "do_normalize": False}
SIZES = [(1, 1), (1, 2), (2, 1), (1, 400), (400, 1), (3, 301), (55, 57), (56, 56), (57, 55), (57, 57), (112, 56)]
SIZES += [(56, 112), (113, 111), (112, 112), (150, 40), (40, 150), (224, 56), (56, 224), (225, 55), (168, 56)]
SIZES += [(333, 127), (127, 333), (500, 499), (1201, 799), (9, 1000), (1000, 9), (64, 170), (100, 201)]


def same_as_stock(data: bytes, processor, draft: bool = False) -> None:
    """The valid tiles bit for bit, the id, the count from the header, and nothing in the other tiles."""
    reader = TileReader.of(processor, draft)
    tiles, ratio = reader(data, "a file")
    raw = image_processor(reader.tile, reader.max_tiles, **RAW)
    expected = stock_of(raw, data)
    assert tiles.dtype == np.uint8 and tiles.flags["C_CONTIGUOUS"]
    assert len(tiles) == reader.tiles(data, "a file") == expected["aspect_ratio_mask"].sum()
    assert ratio == expected["aspect_ratio_ids"]
    assert np.array_equal(tiles, expected["pixel_values"][: len(tiles)])
    assert not expected["pixel_values"][len(tiles) :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_are_those_of_the_stock_processor(kind):
    same_as_stock(KINDS[kind], image_processor())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_size_is_cut_as_the_stock_processor_cuts_it(size, mode):
    same_as_stock(encoded(picture(1, *size).convert(mode)), image_processor())


def test_random_sizes_and_numbers_of_tiles():
    random = np.random.default_rng(0)
    for _ in range(60):
        size = np.exp(random.uniform(0, np.log(900), 2)).astype(int)
        data = encoded(Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), np.uint8)), compress_level=1)
        same_as_stock(data, image_processor(int(random.integers(14, 70)), int(random.integers(1, 7))))


def test_the_released_size():
    for size in ((512, 512), (1500, 1200), (561, 560), (480, 640), (3000, 400)):
        same_as_stock(encoded(picture(2, *size), "JPEG"), image_processor(560))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("draft", [False, True])
def test_an_image_is_turned_before_it_is_fitted(orientation, kind, draft):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(orientation, 150, 40), kind, exif=exif)
    same_as_stock(data, image_processor(), draft)  # too small for a draft to change anything
    assert TileReader.of(image_processor())(data, "")[1] == (7 if orientation >= 5 else 3)


def with_chunk(data: bytes, kind: bytes, content: bytes, before: bytes) -> bytes:
    """A PNG file with one more chunk."""
    chunk = len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
    place = data.index(before) - 4
    return data[:place] + chunk + data[place:]


def test_a_png_that_says_how_to_turn_it_behind_its_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(3, 150, 40))
    late = with_chunk(data, b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"), before=b"IEND")
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0" + b'<x tiff:Orientation="6"/>'
    early_xmp, late_xmp = (with_chunk(data, b"iTXt", xmp, before) for before in (b"IDAT", b"IEND"))
    plain = with_chunk(data, b"tEXt", b"Comment\0of no meaning", before=b"IEND")
    for file, whole, ratio in ((data, True, 3), (late, False, 7), (early_xmp, True, 7), (late_xmp, False, 7),
                               (plain, False, 3)):  # fmt: skip
        assert ends_with_pixels(file) is whole
        assert READER(file, "")[1] == ratio
        same_as_stock(file, image_processor())


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_header_of_a_file_tells_its_tiles_without_its_pixels(kind, monkeypatch):
    data = encoded(picture(5, 150, 90), kind)
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", None)
        assert READER.tiles(data, "") == 4
    cut = data[: len(data) * 2 // 3]
    with pytest.raises(InputError, match="truncated"):
        READER(cut, "a file")


def test_draft_takes_the_next_larger_eighth_of_a_jpeg_and_the_same_tiles():
    image = picture(3, 1200, 900)
    data, draft = encoded(image, "JPEG", quality=95), TileReader(TILE, 4, 2, draft=True)
    (plain, ratio), (quick, quick_ratio) = READER(data, ""), draft(data, "")
    grid, size = READER.fit(1200, 900)
    assert (grid, size) == ((2, 2), (84, 112))
    with Image.open(io.BytesIO(data)) as opened:
        opened.draft(None, size[::-1])
        assert opened.size == (150, 113)
        assert opened.size[0] >= size[1] and opened.size[1] >= size[0]
    difference = np.abs(plain.astype(int) - quick)
    assert ratio == quick_ratio and plain.shape == quick.shape
    assert 0 < difference.max() <= 24 and difference.mean() < 1.5
    png = encoded(image)
    assert np.array_equal(draft(png, "")[0], READER(png, "")[0])


def test_a_drafted_image_that_lies_on_its_side_is_not_smaller_than_its_place():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture(4, 1600, 210)
    data = encoded(image, "JPEG", exif=exif, quality=95)
    (plain, _), (quick, _) = READER(data, ""), TileReader(TILE, 4, 2, draft=True)(data, "")
    assert plain.shape == quick.shape and len(plain) == 4
    assert np.abs(plain.astype(int) - quick).mean() < 3


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_cannot_be_read_is_named_with_its_row(kind):
    data, message = DAMAGED[kind]
    with pytest.raises(InputError, match=message) as error:
        READER(data, "--dataset, row 7 (images/7.png)")
    assert "row 7 (images/7.png)" in str(error.value)
    assert "`medpairs build`" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_8_bits_are_refused_and_not_cut_off(mode):
    """Pillow's `convert("RGB")`, which the stock path calls, makes 255 of most of them without a word."""
    data = gray_values(64, 64, mode)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == mode
        assert (np.asarray(image.convert("RGB")) == 255).mean() > 0.9
        with pytest.raises(InputError, match=rf"row 3.*mode {mode}, more than 8 bits.*`medpairs build`.*windows"):
            check_depth(image, "--dataset, row 3")
    # only a PNG file of 16 bits is let through to where the mode is looked at
    message = "more than 8 bits per channel" if mode == "I;16" else "not a readable JPEG or PNG"
    for step in (READER, READER.tiles):
        with pytest.raises(InputError, match=rf"row 3 \(ct/3.png\).*{message}.*medpairs build"):
            step(data, "--dataset, row 3 (ct/3.png)")


def test_a_processor_that_makes_no_tiles_is_refused():
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    with pytest.raises(InputError, match=r"SiglipImageProcessorPil.*Llama 3.2 Vision"):
        TileReader.of(SiglipImageProcessorPil())
    assert TileReader.of(image_processor(448), draft=True) == TileReader(448, 4, 2, draft=True)


# --- floats ---


def batch_of(files: list[bytes], device: str = "cpu") -> tuple[dict, dict]:
    """Files as a collator packs them, and as the stock processor makes them, each `[N, ...]`."""
    made = [READER(data, "") for data in files]
    expected = [stock_of(image_processor(), data) for data in files]
    batch = {
        "input_ids": torch.zeros(1, 3, dtype=torch.int64),
        "tiles": torch.from_numpy(np.concatenate([tiles for tiles, _ in made])),
        "aspect_ratio_ids": torch.tensor([ratio for _, ratio in made]),
        "aspect_ratio_mask": torch.tensor([[int(place < len(tiles)) for place in range(4)] for tiles, _ in made]),
    }
    stacked = {name: torch.from_numpy(np.stack([one[name] for one in expected])) for name in expected[0]}
    return {name: value.to(device) for name, value in batch.items()}, stacked


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
FILES = [*KINDS.values(), *(encoded(picture(seed, *size)) for seed, size in enumerate(SIZES))]


@pytest.mark.parametrize("device", DEVICES)
def test_unpacked_tiles_are_the_stock_pixels(device):
    batch, expected = batch_of(FILES, device)
    before = batch["tiles"].clone()
    unpacked = unpack_tiles(batch, image_processor())
    assert list(unpacked) == ["input_ids", "aspect_ratio_ids", "aspect_ratio_mask", "pixel_values"]
    assert unpacked["pixel_values"].dtype == torch.float32
    assert unpacked["pixel_values"].device.type == device
    assert unpacked["pixel_values"].shape == expected["pixel_values"].shape == (len(FILES), 4, 3, TILE, TILE)
    assert (unpacked["pixel_values"].cpu() - expected["pixel_values"]).abs().max() <= 1e-6
    for name in ("aspect_ratio_ids", "aspect_ratio_mask"):
        assert torch.equal(unpacked[name].cpu(), expected[name])
    assert torch.equal(batch["tiles"], before)
    # empty tiles are nothing, what an image leaves of its own is normalized black
    empty = unpacked["pixel_values"][~unpacked["aspect_ratio_mask"].bool()]
    assert len(empty) and not empty.any()
    narrow = len(KINDS) + SIZES.index((1, 400))
    assert (unpacked["pixel_values"][narrow, :, :, -1, -1] < -1).all()


def test_places_found_without_counting_are_the_same():
    """What a GPU does, on the processor."""
    batch, _ = batch_of(FILES)
    plain = unpack_tiles(batch, image_processor())["pixel_values"]
    normal = normalize_pixels(batch["tiles"], **normalization_of(image_processor()))
    placed = scatter_tiles(normal, batch["aspect_ratio_mask"])
    assert torch.equal(placed.view(plain.shape), plain)


def test_the_floats_of_a_batch_that_is_held_are_not_written_over():
    """Memory is used again when the last batch is gone: not while it, a part of it or its gradient is there."""
    batches = [batch_of(FILES[start : start + 5])[0] for start in (0, 5, 10)]
    fresh = [unpack_tiles(batch, image_processor())["pixel_values"].clone() for batch in batches]
    kept = [unpack_tiles(batch, image_processor())["pixel_values"][2:] for batch in batches]
    weight = torch.ones(1, requires_grad=True)
    losses = [(unpack_tiles(batch, image_processor())["pixel_values"] * weight).sum() for batch in batches]
    arrays = [unpack_tiles(batch, image_processor())["pixel_values"].numpy() for batch in batches]
    for whole, part, loss, array in zip(fresh, kept, losses, arrays, strict=True):
        assert torch.equal(part, whole[2:])
        assert np.array_equal(array, whole.numpy())
        weight.grad = None
        loss.backward()
        assert weight.grad.item() == pytest.approx(whole.sum().item(), rel=1e-4)


def test_memory_that_is_used_again_is_empty_where_there_is_no_tile():
    first, second = batch_of(FILES[:5])[0], batch_of(FILES[20:24])[0]
    expected = unpack_tiles(second, image_processor())["pixel_values"].clone()
    place = unpack_tiles(first, image_processor())["pixel_values"].data_ptr()
    again = unpack_tiles(second, image_processor())["pixel_values"]
    assert again.data_ptr() == place  # smaller than the first, which is gone
    assert torch.equal(again, expected)


@pytest.mark.parametrize(
    "settings",
    [{}, {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {"do_normalize": False}, {"rescale_factor": 1 / 128}],
    ids=["CLIP", "SigLIP", "not normalized", "another factor"],
)
def test_the_processor_decides_the_floats(settings):
    processor = image_processor(**settings)
    batch, _ = batch_of(FILES[:9])
    expected = np.stack([stock_of(processor, data)["pixel_values"] for data in FILES[:9]])
    assert np.abs(unpack_tiles(batch, processor)["pixel_values"].numpy() - expected).max() <= 1e-6


def test_a_batch_without_an_image_stays_as_it_is():
    batch = {"input_ids": torch.zeros(2, 3)}
    assert unpack_tiles(batch, image_processor()) is batch


def test_a_mask_of_other_tiles_is_an_error():
    batch, _ = batch_of(FILES[:3])
    with pytest.raises(ValueError, match="12 tiles do not match the 4 ones in aspect_ratio_mask"):
        unpack_tiles(batch | {"aspect_ratio_mask": torch.tensor([[1, 1, 1, 1]])}, image_processor())


def test_real_images(real_data):
    files = [*sorted(real_data.glob("slake/imgs/*/source.jpg")), *sorted(real_data.glob("pad_ufes/images/**/*.png"))]
    files += sorted(real_data.glob("knee/oai_kneeKL224/**/*.png"))
    assert len(files) > 20
    for path in files:
        same_as_stock(path.read_bytes(), image_processor(560))


def test_transparency_is_seen_as_the_stock_path_shows_it():
    """`convert("RGB")` drops an alpha channel; a transparent color is laid on white."""
    half = with_alpha(picture(6, 90, 90))
    assert np.array_equal(READER(encoded(half), "")[0], READER(encoded(half.convert("RGB")), "")[0])
    gray = encoded(Image.new("L", (60, 60), 9), transparency=9)
    same_as_stock(gray, image_processor())
    assert (READER(gray, "")[0][0] == 255).all()


def test_rows_of_datasets_decode_to_the_same(tmp_path):
    assert stock_of(image_processor(), turned())["aspect_ratio_ids"] == READER(turned(), "")[1]
    assert chat_dataset([[turned()]])[0]["images"][0].size == (90, 130)
