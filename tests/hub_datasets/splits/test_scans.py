"""Checks which images count as slices of one scan, against a plain comparison of all pairs and in whole builds."""

from __future__ import annotations

import base64
import io
import json
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from hub_datasets.errors import BuildError
from hub_datasets.images.hashing import NO_STRUCTURE, gray_thumbnail, perceptual_hash, thumbnail_hash
from hub_datasets.splits import leakage
from hub_datasets.splits.scans import BITS, BLOCK, BLOCKS, NEIGHBORS, NUMBERS, SAME, Slice, find_scans, slice_pairs
from tests.hub_datasets.checked import build_here, options_for, staged
from tests.hub_datasets.hand_made import decide, make_stage, question, report, source_of
from tests.hub_datasets.layouts import read_lines, slake_row, write_slake
from tests.hub_datasets.splits.test_leakage import move


def smooth(seed: int, side: int = 64) -> np.ndarray:
    """Returns a smooth gray picture of its own, float [side, side]."""
    small = np.random.default_rng(seed).normal(size=(8, 8))
    image = Image.fromarray(((small - small.min()) / np.ptp(small) * 255).astype(np.uint8))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float64)


def blend(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Returns a picture between two others, as a slice is between its neighbors."""
    return (1 - share) * first + share * second


def jpeg_of(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB").save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def far_bits(seed: int) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, 32, np.uint8).tobytes()


def pairs_of(slices: list[Slice], pictures: list[np.ndarray]) -> set[tuple[int, int]]:
    grays = {one.key: picture.astype(np.uint8).tobytes() for one, picture in zip(slices, pictures, strict=True)}
    return set(slice_pairs(slices, lambda one: grays[one.key]))


def one(key: int, number: int, series: str = "CT", size: tuple[int, int] = (64, 64), bits: bytes = b"") -> Slice:
    return Slice(key, (0, f"{key}.png"), series, number, size, bits or far_bits(key))


A, B = smooth(1), smooth(2)
ALMOST = blend(A, B, 0.27)  # a neighbor
SAME_SLICE = blend(A, B, 0.05)


def test_the_planted_pictures_are_what_the_rules_are_about():
    assert NEIGHBORS < correlation(A, ALMOST) < SAME < correlation(A, SAME_SLICE)
    assert abs(correlation(A, B)) < 0.5


@pytest.mark.parametrize(
    ("other", "picture", "joined"),
    [
        (one(1, 5 + NUMBERS), ALMOST, True),
        (one(1, 5 + NUMBERS + 1), ALMOST, False),  # too far away in the numbering
        (one(1, 6, series="MRI"), ALMOST, False),
        (one(1, 6, size=(64, 65)), ALMOST, False),
        (one(1, 6), B, False),  # the next patient
        (one(1, 500, series="MRI", size=(9, 9)), SAME_SLICE, True),  # the same scan once more
        (one(1, 5), ALMOST, True),
    ],
)
def test_two_images_are_slices_of_one_scan(other, picture, joined):
    assert pairs_of([one(0, 5), other], [A, picture]) == ({(0, 1)} if joined else set())


@pytest.mark.parametrize(("bits", "joined"), [(BITS, True), (BITS + 1, False)])
def test_close_hashes_join_neighbors_that_differ_in_gray(bits, joined):
    flipped = np.unpackbits(np.frombuffer(far_bits(0), np.uint8))
    flipped[:bits] ^= 1
    other = one(1, 6, bits=np.packbits(flipped).tobytes())
    assert pairs_of([one(0, 5), other], [A, B]) == ({(0, 1)} if joined else set())
    apart = one(1, 5 + NUMBERS + 1, bits=np.packbits(flipped).tobytes())
    assert pairs_of([one(0, 5), apart], [A, B]) == set()


def test_plain_pictures_are_no_slices():
    plain = [np.full((64, 64), value) for value in (0.0, 0.0, 90.0)]
    assert pairs_of([one(n, n, bits=NO_STRUCTURE) for n in range(3)], plain) == set()


def test_blocks_find_what_a_comparison_of_all_pairs_finds():
    """Over several blocks, with equal numbers and gaps."""
    rng = np.random.default_rng(0)
    count = 2 * BLOCK + 40
    numbers = np.sort(rng.integers(0, 2 * count, count))
    bases = [smooth(seed) for seed in range(12)]
    pictures = [
        blend(bases[rng.integers(12)], bases[rng.integers(12)], rng.uniform(0, 0.3)).astype(np.uint8)
        for _ in range(count)
    ]
    slices = [
        one(n, int(number), series=("CT", "MRI")[rng.integers(2)], size=((64, 64), (32, 32))[rng.integers(2)])
        for n, number in enumerate(numbers)
    ]
    expected = set()
    table = np.corrcoef(np.stack([picture.ravel() for picture in pictures]))
    for i, j in combinations(range(count), 2):
        first, second = slices[i], slices[j]
        alike = first.series == second.series and first.size == second.size
        if table[i, j] > SAME or (alike and second.number - first.number <= NUMBERS and table[i, j] > NEIGHBORS):
            expected.add((i, j))
    edge = {
        (i, j) for i, j in combinations(range(count), 2) if min(abs(table[i, j] - t) for t in (SAME, NEIGHBORS)) < 1e-5
    }
    assert len(expected) > 1000 and any(j - i > BLOCK for i, j in expected)
    assert pairs_of(slices, pictures) ^ expected <= edge


def test_memory_is_bounded_by_comparing_with_the_blocks_before():
    """A picture is repeated far beyond what is compared: the copy is not seen, one within is."""
    count = (BLOCKS + 1) * BLOCK
    noise = np.random.default_rng(0).integers(0, 256, (count, 64, 64)).astype(np.uint8)
    noise[-1] = noise[0]
    noise[BLOCK + 5] = noise[7]
    found = set(slice_pairs([one(n, 10 * n) for n in range(count)], lambda slice: noise[slice.key].tobytes()))
    assert found == {(7, BLOCK + 5)}


def test_the_hash_of_a_thumbnail_is_that_of_its_image():
    image = Image.fromarray(smooth(5, 200).astype(np.uint8))
    assert thumbnail_hash(gray_thumbnail(image)) == perceptual_hash(image)
    assert gray_thumbnail(image).shape == (64, 64) and gray_thumbnail(image).dtype == np.uint8


# --- In a build


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """SLAKE with 12 scans of 5 slices each, all numbered one after another, and 12 single images."""
    images, rows, scans = {}, [], {}
    for scan in range(12):
        first, last = smooth(100 + scan, 96), smooth(200 + scan, 96)
        for place in range(5):
            number = 5 * scan + place
            images[number] = jpeg_of(blend(first, last, 0.15 * place))
            scans[number] = scan
    for number in range(60, 72):
        images[number] = jpeg_of(smooth(number, 96))
        scans[number] = number
    rows = [slake_row(number, number, "Question?", "Yes") for number in images]
    folder = write_slake(tmp_path_factory.mktemp("volumes") / "slake", train=rows)
    for number, data in images.items():
        (folder / f"imgs/xmlab{number}/source.jpg").write_bytes(data)
    return folder, scans


def test_slices_of_a_scan_stay_in_one_split(volumes, tmp_path):
    folder, scans = volumes
    flags = ("--val_fraction", "0.3", "--test_fraction", "0.3", "--near_distance", "0")
    built = build_here({"--slake_dir": folder}, tmp_path / "out", *flags)
    places = {}
    for line in read_lines(tmp_path / "out/chat_instructions.jsonl"):
        places.setdefault(scans[line["metadata"]["img_id"]], set()).add((line["split"], line["group_id"]))
    assert all(len(found) == 1 for found in places.values()) and len(places) == 24
    assert {split for found in places.values() for split, _ in found} == {"train", "validation", "test"}
    assert built["scans"] == {"slake": {"images": 72, "joined": 60, "scans": 12, "largest": 5}}
    assert built["leakage"]["checked"]["scan"] >= 48 and built["leakage"]["leaks"]["scan"] == 0
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    splits = card[card.index("\n## Splits") :]
    assert splits.index("no patient IDs: images of one patient may be in different splits") < splits.index("| rows of")
    assert "60 of 72 images are in 12 scans of several slices" in splits


def test_two_folders_have_one_numbering(volumes, tmp_path):
    """The slices of a scan may come in two downloads."""
    folder, scans = volumes
    halves = []
    for half in range(2):
        rows = [slake_row(n, n, "Question?", "Yes") for n in scans if n % 2 == half]
        halves.append(write_slake(tmp_path / f"half{half}", train=rows))
        for row in rows:
            name = f"imgs/xmlab{row['img_id']}/source.jpg"
            (halves[-1] / name).write_bytes((folder / name).read_bytes())
    built = build_here({"--slake_dir": halves}, tmp_path / "out", "--near_distance", "0", "--val_fraction", "0.3")
    assert built["scans"]["slake"] == {"images": 72, "joined": 60, "scans": 12, "largest": 5}


def test_only_sources_with_scans_keep_thumbnails(volumes, tmp_path):
    options = options_for({"--slake_dir": volumes[0]}, tmp_path / "out")
    (stage,) = staged(options, tmp_path / "work")
    from hub_datasets.ingest.catalog import Catalog

    catalog = Catalog(stage.catalog)
    gray = np.frombuffer(catalog.thumbnail("imgs/xmlab3/source.jpg"), np.uint8).reshape(64, 64)
    catalog.close()
    with Image.open(volumes[0] / "imgs/xmlab3/source.jpg") as image:
        assert np.array_equal(gray, gray_thumbnail(image))
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", [report(1), report(2)]))
    assert find_scans(decisions) == {}


def test_a_scan_in_two_splits_is_a_leak(tmp_path):
    grays = {n: blend(A, B, 0.1 * n).astype(np.uint8) for n in range(3)}
    records = [question(n, n) for n in range(3)]
    for n, record in enumerate(records):
        record.scan_series, record.scan_number = "CT", n
    images = {f"imgs/{n}/source.jpg": {"thumbnail": base64.b64encode(gray.tobytes())} for n, gray in grays.items()}
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", records, images, source_of("slake")))
    assert leakage.find_leaks(decisions)["leaks"]["scan"] == 0
    move(decisions, "row 1")
    found = leakage.find_leaks(decisions)
    assert found["leaks"]["scan"] == 2
    with pytest.raises(BuildError, match=r"leaks between splits .*scan 2"):
        leakage.refuse_leaks(found)
    assert json.dumps(found["examples"])
