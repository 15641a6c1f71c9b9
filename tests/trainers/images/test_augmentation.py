"""Tests the augmentation: reproducible from seed, epoch and row, mild, and without mirroring unless requested."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainers.images.encoded_images import KINDS, READER, dataset, encoded, picture
from trainers.encoder.data.dataset import EncoderRows
from trainers.images.augmentation import Augmentation, crop_and_rotate

PIXELS = np.ascontiguousarray(np.asarray(picture(3, 96, 80)).transpose(2, 0, 1))
STILL = {"scale": 1.0, "aspect": 1.0, "degrees": 0.0, "brightness": 0.0, "contrast": 0.0}


def test_seed_epoch_and_row_decide_and_nothing_else():
    first = Augmentation(7)(PIXELS, 2, 11)
    np.random.seed(5)  # the global state must not matter
    torch.manual_seed(5)
    Augmentation(7)(PIXELS, 0, 0)
    assert np.array_equal(Augmentation(7)(PIXELS, 2, 11), first)
    for other in (Augmentation(8)(PIXELS, 2, 11), Augmentation(7)(PIXELS, 3, 11), Augmentation(7)(PIXELS, 2, 12)):
        assert not np.array_equal(other, first)


def test_the_input_is_kept_and_the_shape_too():
    before = PIXELS.copy()
    changed = Augmentation(0, flip=True)(PIXELS, 0, 0)
    assert np.array_equal(PIXELS, before)
    assert (changed.dtype, changed.shape) == (np.uint8, PIXELS.shape)
    assert changed.flags["C_CONTIGUOUS"]


def test_without_any_range_the_picture_stays_as_it_is():
    for row in range(20):
        assert np.array_equal(Augmentation(0, **STILL)(PIXELS, 0, row), PIXELS)


def test_it_is_mild_and_differs_from_row_to_row():
    """The changed picture is nearer to its own than to its mirror image, and about as bright."""
    drawn = [Augmentation(1)(PIXELS, 0, row).astype(float) for row in range(200)]
    for changed in drawn:
        own, mirrored = (np.abs(changed - other).mean() for other in (PIXELS, PIXELS[:, :, ::-1].astype(float)))
        assert 0 < own < mirrored
        assert abs(changed.mean() - PIXELS.mean()) < 0.1 * 255 + 12
    assert len({changed.tobytes() for changed in drawn}) == len(drawn)


def test_brightness_and_contrast_fill_their_ranges_and_stop_there():
    middle = PIXELS // 2 + 64  # nothing of it is cut off at 0 or 255
    only = STILL | {"brightness": 0.1, "contrast": 0.1}
    drawn = [Augmentation(1, **only)(middle, 0, row).astype(float) for row in range(300)]
    brighter = [(one.mean() - middle.mean()) / 255 for one in drawn]
    stronger = [one.std() / middle.std() - 1 for one in drawn]
    for values in (brighter, stronger):
        assert -0.105 < min(values) < -0.09
        assert 0.09 < max(values) < 0.105


def test_never_mirrored_unless_asked():
    unasked, asked = (Augmentation(1, flip=flip, **STILL) for flip in (False, True))
    assert all(np.array_equal(unasked(PIXELS, 0, row), PIXELS) for row in range(50))
    mirrored = [not np.array_equal(asked(PIXELS, 0, row), PIXELS) for row in range(400)]
    assert 160 < sum(mirrored) < 240
    row = mirrored.index(True)
    assert np.array_equal(asked(PIXELS, 0, row), PIXELS[:, :, ::-1])


def test_a_flip_changes_nothing_but_itself():
    plain, flipped = Augmentation(3), Augmentation(3, flip=True)
    for row in range(30):
        expected = plain(PIXELS, 1, row)
        assert any(np.array_equal(flipped(PIXELS, 1, row), one) for one in (expected, expected[:, :, ::-1]))


@pytest.mark.parametrize("degrees", [-7, 3, 7])
@pytest.mark.parametrize("part", [(1.0, 1.0), (0.9, 0.95)])
def test_the_part_is_pillows(degrees, part):
    """The same map through Pillow's affine transform, where it does not reach beyond the edge."""
    height, width = PIXELS.shape[1:]
    angle, center = math.radians(degrees), (0.02, -0.03)
    ours = crop_and_rotate(torch.from_numpy(PIXELS).float(), [*part], [*center], angle).numpy()
    a, b = math.cos(angle) * part[0], -math.sin(angle) * part[1]
    d, e = math.sin(angle) * part[0], math.cos(angle) * part[1]
    x, y = (1 + center[0]) * width / 2, (1 + center[1]) * height / 2
    data = (a, b, x - a * width / 2 - b * height / 2, d, e, y - d * width / 2 - e * height / 2)
    image = Image.fromarray(PIXELS.transpose(1, 2, 0))
    theirs = image.transform((width, height), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    inside = slice(15, -15)
    difference = np.abs(ours - np.asarray(theirs).transpose(2, 0, 1))[:, inside, inside]
    assert difference.max() <= 1.5


def test_beyond_the_edge_the_edge_goes_on():
    flat = torch.full((3, 40, 40), 200.0)
    assert torch.allclose(crop_and_rotate(flat, [1.0, 1.0], [0.0, 0.0], math.radians(7)), flat, rtol=1e-6)


def test_rows_change_with_the_epoch_in_this_process_and_in_workers_that_stay(tmp_path):
    rows = dataset([KINDS["JPEG"], KINDS["PNG"], encoded(picture(20), "JPEG")] * 2)
    ones = EncoderRows(rows, READER, tmp_path, augmentation=Augmentation(4))
    plain = EncoderRows(rows, READER, tmp_path)
    loader = torch.utils.data.DataLoader(
        ones, batch_size=2, num_workers=1, persistent_workers=True, collate_fn=list, multiprocessing_context="fork"
    )
    for epoch in (0, 1, 0, 5):
        ones.set_epoch(epoch)
        read = [row["pixels"] for batch in loader for row in batch]
        for row, pixels in enumerate(read):
            assert np.array_equal(pixels, Augmentation(4)(plain[row]["pixels"], epoch, row))
            assert np.array_equal(pixels, ones[row]["pixels"])
    assert not np.array_equal(read[0], plain[0]["pixels"])
    assert not np.array_equal(read[0], read[3])  # the same file in another row
