"""Checks that equal pictures have equal hashes, similar ones close hashes, and that repeated statements are dropped."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from hub_datasets.images.hashing import NO_STRUCTURE, perceptual_hash, pixel_hash, without_opaque_alpha
from hub_datasets.records import RawRecord, Reason, Rejection
from hub_datasets.sources.conflicts import drop_repeats, one_label
from hub_datasets.splits.near_duplicates import NEAR_DISTANCE

EIGHT_BIT_MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"]
DEEP_MODES = ["I", "F", "I;16", "I;16L", "I;16B", "I;16N"]


def gray(seed: int = 0, size: tuple[int, int] = (300, 200)) -> Image.Image:
    """A smooth random picture: noise at several scales."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(random.random((side, side), np.float32)).resize(size, Image.Resampling.BICUBIC))
        for side in (4, 9, 20, 50)
    ]
    total = sum(layer / (number + 1) for number, layer in enumerate(layers))
    return Image.fromarray(np.uint8(255 * (total - total.min()) / np.ptp(total)))


def color(seed: int = 0) -> Image.Image:
    return Image.merge("RGB", [gray(seed), gray(seed), gray(seed + 1)])


def apart(first: Image.Image, second: Image.Image) -> int:
    """Bits between the perceptual hashes of two images."""
    return (int.from_bytes(perceptual_hash(first)) ^ int.from_bytes(perceptual_hash(second))).bit_count()


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.mark.parametrize("size", [(5, 7), (640, 480), (5000, 4000)])
def test_an_alpha_channel_that_hides_nothing_is_dropped(size):
    """The large one is kept in several parts, which no view spans."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    values[0, 0, 3] = 254
    image = Image.fromarray(values)
    assert without_opaque_alpha(image) is image
    image.putalpha(255)
    opaque, plain = without_opaque_alpha(image), image.convert("RGB")
    del image
    assert (opaque.mode, opaque.size) == ("RGB", size) and opaque.tobytes() == plain.tobytes()
    assert pixel_hash(opaque) == pixel_hash(plain) and perceptual_hash(opaque) == perceptual_hash(plain)


class TestPixelHash:
    def test_the_same_picture_in_every_way_to_store_it(self):
        image = gray()
        stored = [image, image.convert("RGB"), image.convert("RGBA"), image.convert("LA"), image.convert("P")]
        assert {pixel_hash(one) for one in stored} == {pixel_hash(image)}
        assert len(pixel_hash(image)) == 16
        bilevel = image.convert("1")
        assert pixel_hash(bilevel) == pixel_hash(bilevel.convert("L"))

    def test_one_value_of_one_pixel_counts(self):
        image = color()
        changed = image.copy()
        red, green, blue = image.getpixel((299, 199))
        changed.putpixel((299, 199), (red, green, blue ^ 1))
        assert pixel_hash(image) != pixel_hash(changed)

    def test_the_shape_counts(self):
        values = gray().tobytes()
        shapes = [(300, 200), (200, 300), (60000, 1), (1, 60000)]
        assert len({pixel_hash(Image.frombytes("L", shape, values)) for shape in shapes}) == 4

    def test_transparency_counts_where_there_is_any(self):
        image = color().convert("RGBA")
        clear = image.copy()
        clear.putpixel((0, 0), (*image.getpixel((0, 0))[:3], 254))
        assert pixel_hash(image) == pixel_hash(image.convert("RGB"))
        assert pixel_hash(clear) != pixel_hash(image)

    def test_all_16_bits_count(self):
        values = np.full((20, 20), 1000, np.uint16)
        other = values.copy()
        other[3, 3] = 1001
        assert pixel_hash(Image.fromarray(values)) != pixel_hash(Image.fromarray(other))

    def test_an_image_of_many_strips(self):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (3000, 700, 3), np.uint8))
        last = image.copy()
        last.putpixel((699, 2999), tuple(255 - value for value in image.getpixel((699, 2999))))
        assert pixel_hash(image) == pixel_hash(image.copy()) != pixel_hash(last)


class TestPerceptualHash:
    @pytest.mark.parametrize("quality", [50, 75, 95])
    def test_another_coding_is_near(self, quality):
        assert apart(color(), jpeg(color(), quality)) <= NEAR_DISTANCE

    @pytest.mark.parametrize("size", [(150, 100), (225, 150), (450, 300), (600, 400), (224, 224)])
    def test_another_size_is_near(self, size):
        assert apart(color(), color().resize(size, Image.Resampling.LANCZOS)) <= NEAR_DISTANCE

    def test_brightness_and_contrast_are_near(self):
        darker = ImageEnhance.Brightness(gray()).enhance(0.9)
        flatter = ImageEnhance.Contrast(gray()).enhance(0.8)
        assert apart(gray(), darker) <= NEAR_DISTANCE
        assert apart(gray(), flatter) <= NEAR_DISTANCE

    def test_gray_and_color_storage_agree(self):
        assert perceptual_hash(gray()) == perceptual_hash(gray().convert("RGB"))
        assert apart(color(), color().convert("RGBA")) <= 4  # turned gray before it is made small

    def test_other_pictures_are_far(self):
        assert all(apart(gray(first), gray(second)) > 60 for first in range(10) for second in range(first))

    @pytest.mark.parametrize("way", list(Image.Transpose), ids=lambda way: way.name)
    def test_a_mirrored_or_turned_picture_is_another_one(self, way):
        assert apart(gray(), gray().transpose(way)) > 60

    def test_a_plain_picture_has_no_structure(self):
        random = np.random.default_rng(0)
        noise = Image.fromarray(random.integers(127, 130, (400, 400), np.uint8))
        ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1)))
        empty = Image.new("RGB", (512, 512))
        spot = empty.copy()
        spot.putpixel((9, 9), (90, 90, 90))
        for image in (empty, Image.new("L", (300, 20), 255), noise, ramp, spot):
            assert perceptual_hash(image) == NO_STRUCTURE

    def test_half_of_the_bits_are_set(self):
        assert all(120 <= int.from_bytes(perceptual_hash(gray(seed))).bit_count() <= 128 for seed in range(10))

    def test_a_symmetric_picture_has_the_same_hash_however_its_sums_are_rounded(self):
        half = np.asarray(gray(size=(128, 256)))
        image = Image.fromarray(np.hstack([half, half[:, ::-1]]))
        assert perceptual_hash(image) == perceptual_hash(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


@pytest.mark.parametrize("size", [(1, 1), (3, 70), (500, 2)])
@pytest.mark.parametrize("mode", EIGHT_BIT_MODES + DEEP_MODES)
def test_every_mode_and_size_has_hashes(mode, size):
    image = Image.new(mode, size)
    assert len(pixel_hash(image)) == 16
    assert perceptual_hash(image) == NO_STRUCTURE


def record(item: str, language: str = "en", category: str = "Lung", image: str = "", **said: str) -> RawRecord:
    return RawRecord("slake", item, image or "one.png", category, language, **said)


class TestDropRepeats:
    def test_the_first_is_kept_and_the_others_name_it(self):
        records = [record(f"row {n}", question="Is it normal?", answer="No") for n in range(3)]
        kept, *rejected = drop_repeats(records, {})
        assert kept is records[0]
        assert [(rejection.item, rejection.code) for rejection in rejected] == [
            ("row 1", Reason.DUPLICATE_ROW),
            ("row 2", Reason.DUPLICATE_ROW),
        ]
        assert all(rejection.source == "slake" and "row 0" in rejection.message for rejection in rejected)

    def test_a_copy_of_the_file_is_a_duplicate_image(self):
        _, rejected = drop_repeats([record("a", text="one"), record("b", text="one", image="copy.png")], {})
        assert rejected.code == Reason.DUPLICATE_IMAGE

    def test_every_part_of_a_statement_makes_a_difference(self):
        records = [
            record("a", question="Q?", answer="No"),
            record("b", question="Q?", answer="Yes"),
            record("c", question="P?", answer="No"),
            record("d", language="zh", question="Q?", answer="No"),
            record("e", text="Q?"),
            record("f", text="No"),
        ]
        assert list(drop_repeats(records, {})) == records

    def test_repeats_keep_their_place_among_the_others(self):
        records = [record(item, text=text) for item, text in zip("abcd", ("one", "two", "one", "three"), strict=True)]
        kinds = ["repeat" if isinstance(found, Rejection) else found.item for found in drop_repeats(records, {})]
        assert kinds == ["a", "b", "repeat", "d"]

    def test_the_groups_of_a_repeat_stay_with_the_kept_record(self):
        records = [record("a", text="one"), record("b", text="one")]
        records[0].groups, records[1].groups = ("patient:1", "study:1"), ("patient:2", "study:1")
        kept = next(drop_repeats(records, {}))
        assert kept.groups == ("patient:1", "study:1", "patient:2")


class TestOneLabel:
    def test_one_category_is_settled_like_repeats(self):
        kept, other, repeat, copy = one_label(
            [
                record("a", text="one"),
                record("b", text="two"),
                record("c", text="one"),
                record("d", text="two", image="copy.png"),
            ],
            {},
        )
        assert (kept.item, other.item) == ("a", "b")
        assert (repeat.code, copy.code) == (Reason.DUPLICATE_ROW, Reason.DUPLICATE_IMAGE)

    def test_other_categories_reject_all_and_name_each_other(self):
        records = [
            record("row 1", category="NEV", text="one"),
            record("row 2", category="MEL", text="two"),
            record("row 3", category="NEV", text="one"),
        ]
        rejected = list(one_label(records, {}))
        assert [(rejection.item, rejection.code) for rejection in rejected] == [
            (f"row {n}", Reason.CONFLICTING_LABELS) for n in (1, 2, 3)
        ]
        assert "row 2 is MEL" in rejected[0].message and "row 3" not in rejected[0].message
        assert "row 1 is NEV" in rejected[1].message and "row 3 is NEV" in rejected[1].message

    def test_a_long_list_of_others_is_cut(self):
        records = [record(f"row {n}", category=str(n), text="one") for n in range(100)]
        message = next(one_label(records, {})).message
        assert "and 94 more" in message and len(message) < 300
