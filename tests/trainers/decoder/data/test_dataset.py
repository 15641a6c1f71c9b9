"""Tests the decoder's rows: images are identified and read once, for any number of rows, images and processes."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from evaluation.loading import InputError
from tests.trainers.chat_images import READER, SmallChats, chat_dataset, image_processor, stock
from tests.trainers.images.encoded_images import KINDS, encoded, picture
from trainers.decoder.arguments import DecoderArguments
from trainers.decoder.data.dataset import ChatImages, DecoderRows, decoder_rows
from trainers.images.cache_reader import PIXELS

WIDE, TALL, SMALL = (encoded(picture(seed, *size)) for seed, size in enumerate([(150, 40), (40, 150), (30, 30)]))
ROWS = [[WIDE], [], [WIDE, TALL], [TALL], [WIDE], [TALL, WIDE], [SMALL], [WIDE, TALL], [], [SMALL, SMALL]]
ROWS += [[data] for data in KINDS.values()]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """As they are read from a disk."""
    import datasets

    folder = tmp_path_factory.mktemp("rows")
    chat_dataset(ROWS).save_to_disk(str(folder))
    return datasets.load_from_disk(str(folder))


@pytest.fixture(params=["cached", "decoded each time"])
def ones(request, tmp_path, rows):
    cache = tmp_path / "caches" if request.param == "cached" else None
    return DecoderRows(rows, SmallChats(len(rows)), READER, cache, workers=2)


def test_no_image_is_written_to_the_disk_again(rows, monkeypatch):
    from datasets import Dataset

    from trainers.base.run_fingerprint import rows_digest

    def refuse(*_, **__):
        raise AssertionError("the dataset is copied")

    monkeypatch.setattr(Dataset, "map", refuse)
    assert ChatImages(rows)(0)[0] == WIDE
    assert rows_digest(rows).startswith(f"{len(ROWS)} rows, ")


def test_a_digest_knows_the_images_of_a_row_by_number_and_size():
    from trainers.base.run_fingerprint import rows_digest

    found = {rows_digest(chat_dataset(images)) for images in ([[WIDE], [TALL]], [[TALL], [WIDE]], [[WIDE, TALL], []])}
    assert len(found) == 3
    assert rows_digest(chat_dataset([[WIDE], []])) == rows_digest(chat_dataset([[WIDE], []]))


def test_rows_hold_their_tokens_and_the_stock_tiles_of_their_images(ones, rows):
    chats = SmallChats(len(rows))
    processor = image_processor(do_rescale=False, do_normalize=False)
    assert len(ones) == len(ROWS)
    for row, item in enumerate(ones.__getitems__(list(range(len(ones))))):
        assert list(item) == ["row", "input_ids", "labels", "prompt_length", "images"]
        assert item["row"] == row
        assert np.array_equal(item["input_ids"], chats.input_ids(row))
        assert np.array_equal(item["labels"], chats.labels(row))
        assert item["prompt_length"] == chats.prompt_length(row)
        assert len(item["images"]) == len(ROWS[row])
        if item["images"]:
            expected = stock(processor, rows[row])
            assert [ratio for _, _, ratio in item["images"]] == expected["aspect_ratio_ids"].tolist()
            for place, (key, tiles, _) in enumerate(item["images"]):
                assert type(key) is int
                assert tiles.dtype == np.uint8
                assert np.array_equal(tiles, expected["pixel_values"][place, : len(tiles)])
                assert len(tiles) == expected["aspect_ratio_mask"][place].sum()


def test_a_key_is_an_image_and_an_image_is_read_once_a_call(ones):
    seen: dict[int, tuple[bytes, np.ndarray]] = {}
    for row, item in enumerate(ones.__getitems__(list(range(len(ones))))):
        for data, (key, tiles, _) in zip(ROWS[row], item["images"], strict=True):
            known, array = seen.setdefault(key, (data, tiles))
            assert known == data and array is tiles
    assert len(seen) == len({data for row in ROWS for data in row})
    later = ones[0]["images"][0]
    assert later[0] == ones[4]["images"][0][0] and np.array_equal(later[1], seen[later[0]][1])


def test_an_uncached_image_is_decoded_once_for_the_rows_that_share_it(rows, monkeypatch):
    ones, decoded = DecoderRows(rows, SmallChats(len(rows)), READER), []
    plain = type(READER).__call__
    monkeypatch.setattr(type(READER), "__call__", lambda *words: decoded.append(words[2]) or plain(*words))
    ones.__getitems__([0, 2, 4, 7])
    assert [where.split(" (")[0] for where in decoded] == ["--dataset, row 0", "--dataset, row 2, image 2"]


def test_groups_are_equal_where_the_images_are(ones):
    groups = ones.image_groups()
    assert groups.shape == (len(ROWS),) and groups.dtype == np.int64
    for first in range(len(ROWS)):
        for second in range(len(ROWS)):
            assert (groups[first] == groups[second]) == (ROWS[first] == ROWS[second])


def test_a_column_is_asked_for_by_its_name(ones, rows):
    assert ones["image_path"][:3] == ["images/0.png", "images/1.png", "images/2.png"]
    assert ones.rows is rows


def test_tiles_of_the_cache_are_views_that_cannot_be_written_to(tmp_path, rows):
    ones = DecoderRows(rows, SmallChats(len(rows)), READER, tmp_path)
    tiles = ones[0]["images"][0][1]
    assert np.shares_memory(tiles, ones.cached.pixels)
    with pytest.raises(ValueError, match="read-only"):
        tiles[:] = 0


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_workers": 2},
        pytest.param({"num_workers": 1, "multiprocessing_context": "spawn"}, marks=pytest.mark.slow),
    ],
)
def test_a_loader_with_workers_reads_the_same(ones, settings):
    loader = torch.utils.data.DataLoader(ones, batch_size=4, collate_fn=list, **settings)
    read = [item for batch in loader for item in batch]
    assert [item["row"] for item in read] == list(range(len(ones)))
    for item in read:
        plain = ones[item["row"]]
        assert np.array_equal(item["labels"], plain["labels"])
        assert [image[::2] for image in item["images"]] == [image[::2] for image in plain["images"]]
        assert all(np.array_equal(a[1], b[1]) for a, b in zip(item["images"], plain["images"], strict=True))


def test_a_pickle_is_small_and_holds_no_pixels(ones):
    unread = len(pickle.dumps(ones))
    ones.__getitems__(list(range(len(ones))))
    data = pickle.dumps(ones)
    assert len(data) == unread < 20_000
    again = pickle.loads(data)  # noqa: S301 (made on the line above)
    assert np.array_equal(again[2]["images"][1][1], ones[2]["images"][1][1])


def test_rows_in_another_order_are_the_same_rows(tmp_path, rows):
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    plain, turned = (DecoderRows(one, SmallChats(len(rows)), READER, tmp_path) for one in (rows, rows.select(order)))
    assert plain.cached.folder == turned.cached.folder
    for place, row in enumerate(order):
        for a, b in zip(turned[place]["images"], plain[row]["images"], strict=True):
            assert a[0] == b[0] and a[2] == b[2] and np.array_equal(a[1], b[1])


def test_rows_without_any_image_need_no_cache(tmp_path):
    ones = DecoderRows(chat_dataset([[], []]), SmallChats(2), READER, tmp_path)
    assert [item["images"] for item in ones.__getitems__([0, 1])] == [[], []]
    assert ones.image_groups().tolist() == [0, 0]
    assert not list(tmp_path.iterdir())


def test_a_damaged_image_is_named_with_row_and_place(tmp_path):
    images = chat_dataset([[WIDE], [], [WIDE, KINDS["JPEG"][:1500]]])
    named = "row 2, image 2: .*truncated"
    with pytest.raises(InputError, match=named):
        DecoderRows(images, SmallChats(3), READER, tmp_path)
    plain = DecoderRows(images, SmallChats(3), READER)
    assert len(plain[0]["images"]) == 1
    with pytest.raises(InputError, match=named):
        plain[2]


def test_what_the_header_shows_is_said_before_any_decoding(tmp_path, capsys):
    from tests.trainers.chat_images import gray_values

    images = chat_dataset([[WIDE], [gray_values(40, 40, "I;16")]])
    with pytest.raises(InputError, match=r"row 1 \(images/1.png\): the image has mode I;16, more than 8 bits"):
        DecoderRows(images, SmallChats(2), READER, tmp_path)
    assert "decoding" not in capsys.readouterr().out


def test_a_missing_file_a_missing_image_and_a_missing_list(tmp_path):
    import datasets

    (tmp_path / "here.png").write_bytes(TALL)
    paths = [[str(tmp_path / "here.png")], [str(tmp_path / "gone.png")], None, [None]]
    features = datasets.Features({"images": datasets.List(datasets.Image())})
    images = ChatImages(datasets.Dataset.from_dict({"images": paths}, features=features))
    assert images.starts.tolist() == [0, 1, 2, 2, 3]
    assert bytes(images(0)[0]) == TALL
    with pytest.raises(InputError, match=r"row 1 \(.*gone.png\): the image cannot be read: No such file"):
        images(1)
    with pytest.raises(InputError, match=r"row 3: the image cannot be read"):
        images(2)


def test_a_dataset_of_pairs_is_refused():
    import datasets

    with pytest.raises(InputError, match="no column `images` of lists of images; the config `chat`"):
        ChatImages(datasets.Dataset.from_dict({"images": [["a"]]}))


def test_the_flags_decide_reader_and_cache(tmp_path, rows, tiny_decoder, capsys):
    from transformers import AutoProcessor

    processor, chats = AutoProcessor.from_pretrained(tiny_decoder), {"train": SmallChats(len(rows))}
    flags = {"image_cache": str(tmp_path), "image_workers": 1}
    ones = decoder_rows({"train": rows}, chats, processor, DecoderArguments(draft_decode=True, **flags))["train"]
    assert ones.reader.draft and ones.reader.tile == 64 and ones.reader.max_tiles == 4
    assert ones.cached.folder.parent == tmp_path and ones.chats is chats["train"]
    assert (ones.cached.folder / PIXELS).stat().st_size == ones.cached.table["tiles"].sum() * 3 * 64 * 64
    capsys.readouterr()
    flags["image_cache"] = "none"
    assert decoder_rows({"train": rows}, chats, processor, DecoderArguments(**flags))["train"].cached is None


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    """10,000 more rows, of 300 MB of image bytes, take no 48 MiB more."""
    code = """
import resource, sys
from pathlib import Path
import datasets
from tests.trainers.chat_images import READER, SmallChats
from trainers.decoder.data.dataset import DecoderRows
rows = datasets.load_from_disk(sys.argv[1])
rows = rows.select(range(int(sys.argv[2])))
ones = DecoderRows(rows, SmallChats(len(rows)), READER, Path(sys.argv[1] + "-" + sys.argv[2]), 2)
for start in range(0, len(ones), 100):
    ones.__getitems__(list(range(start, start + 100)))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["RssAnon"].split()[0]) // 1024)
"""
    photo = encoded(picture(1, 150, 90))
    chat_dataset([[photo + (row // 13).to_bytes(4, "big")] for row in range(10_100)]).save_to_disk(str(tmp_path / "r"))
    peaks = {}
    for count in (100, 10_100):
        words = [sys.executable, "-c", code, str(tmp_path / "r"), str(count)]
        peaks[count] = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-1])
    assert peaks[10_100] < peaks[100] + 48
