"""Checks which rows are in which Parquet file and row group, how they are coded, and that every byte comes back."""

from __future__ import annotations

import json
import os
import random
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Image, List, load_dataset

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.ingest.executors import InProcess, Processes
from hub_datasets.output import parquet as shards_of
from hub_datasets.output.parquet import plan_shards, shard_count, write_shard
from hub_datasets.output.rows import RowFile
from hub_datasets.schema import CONFIGS, IMAGE_COLUMNS, chat_features, features_of, pair_features, region_features
from tests.hub_datasets.layouts import encoded, jpeg, picture, png, tree, write_files
from tests.hub_datasets.shard_rows import CLASSES, digest_of, row, stage_in, write_rows

SCHEMA = pa.schema([("text", pa.string())])


def file_of(rows: list[dict[int, int]], columns: int = 0) -> RowFile:
    """Rows whose lines are ten bytes long, each with the sizes of its images by their numbers."""
    file = RowFile("rows.jsonl")
    for images in rows:
        file.add(10, columns, ({"length": length, "content": f"{number:016x}"} for number, length in images.items()))
    return file


def plan(sizes: list[int], least: int = 1) -> list[dict]:
    """Shards of rows with an image of its own each."""
    file = file_of([{number: size} for number, size in enumerate(sizes)])
    return plan_shards("pairs", "train", SCHEMA, file, [], "out", least)


def parts_of(shards: list[dict], sizes: list[int]) -> list[list[list[int]]]:
    """The sizes of the rows of each row group of each shard."""
    left, found = iter(sizes), []
    for shard in shards:
        found.append([[next(left) for _ in range(count)] for count in shard["groups"]])
    assert next(left, None) is None
    return found


def random_sizes(rng: random.Random) -> list[int]:
    return [
        rng.choice([rng.randint(1, 50), rng.randint(1, 5000), rng.randint(1, 10), 400])
        for _ in range(rng.choice([1, 2, 7, 60, 300]))
    ]


@pytest.fixture
def small(monkeypatch):
    """2,560 bytes a shard and 320 a row group, in the proportion of the true sizes, for rows of a few bytes."""
    monkeypatch.setattr(shards_of, "SHARD_BYTES", 2560)
    monkeypatch.setattr(shards_of, "ROW_GROUP_BYTES", 320)


@pytest.mark.parametrize("seed", range(60))
def test_every_row_is_in_one_shard_in_order(small, seed):
    rng = random.Random(seed)
    sizes, least = random_sizes(rng), rng.choice([1, 1, 2, 5, 40])
    shards = plan(sizes, least)
    assert shards[0]["start"] == 0 and shards[-1]["ends"][-1] == 10 * len(sizes)
    assert all(one["ends"][-1] == other["start"] for one, other in pairwise(shards))
    for shard in shards:
        lines = [end - start for start, end in pairwise([shard["start"], *shard["ends"]])]
        assert lines == [10 * count for count in shard["groups"]] and min(lines) > 0
    parts = parts_of(shards, sizes)
    needed = max(shard_count(sum(sizes)), least)
    assert len(shards) == min(needed, len(sizes))
    for part in parts:
        for group in part:
            assert group and (sum(group) <= 320 or len(group) == 1)
    names = [shard["target"] for shard in shards]
    count = len(shards)
    assert names == [str(Path(f"out/pairs/train-{n:05d}-of-{count:05d}.parquet")) for n in range(count)]


@pytest.mark.parametrize("seed", range(30))
def test_a_row_group_is_only_closed_where_the_next_row_would_not_fit(small, seed):
    sizes = random_sizes(random.Random(seed))
    for part in parts_of(plan(sizes), sizes):
        for group, following in pairwise(part):
            assert sum(group) + following[0] > 320


@pytest.mark.parametrize("seed", range(30))
def test_an_image_counts_once_in_a_row_group(small, seed):
    """No row group holds more than fits, and none is closed while the next row fits, where rows share images."""
    rng = random.Random(seed)
    sizes = {number: rng.choice([5, 40, 100, 400]) for number in range(20)}
    rows = [{n: sizes[n] for n in {rng.randrange(20), rng.randrange(20)}} for _ in range(200)]
    if rng.random() < 0.5:  # neighbors share images, as those of one picture do
        rows.sort(key=min)
    shards = plan_shards("chat", "train", SCHEMA, file_of(rows, columns=3), [], "out", rng.choice([1, 4]))
    left = iter(rows)
    for shard in shards:
        groups = [[next(left) for _ in range(count)] for count in shard["groups"]]
        stored = [sum({n: size for images in group for n, size in images.items()}.values()) for group in groups]
        for group, size, following in zip(groups, stored, [*groups[1:], None], strict=True):
            assert size + 3 * len(group) <= 320 or len(group) == 1
            if following:
                new = sum(length for n, length in following[0].items() if not any(n in images for images in group))
                assert size + 3 * len(group) + 3 + new > 320
        shared = any(sum(map(len, group)) > len(set().union(*group)) for group in groups)
        assert shard["pointing"] == shared
    assert next(left, None) is None


def test_the_number_of_shards_grows_in_steps_of_about_a_half():
    counts = [shard_count(megabytes * 1_000_000) for megabytes in range(1, 20_000)]
    assert counts == sorted(counts) and sorted(set(counts)) == [1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 63, 94]
    for megabytes, count in enumerate(counts, 1):
        assert megabytes / count <= 300
        assert count == 1 or megabytes / count >= (150 if count == 2 else 199)


def test_rows_that_share_images_are_cut_by_what_they_store():
    """4 GB of rows about 20 images of 10 MB, as questions are: one file."""
    rows = [{number // 20: 10_000_000} for number in range(400)]
    (shard,) = plan_shards("chat", "train", SCHEMA, file_of(rows), [], "out", 1)
    assert shard["pointing"] and shard["groups"] == [60] * 6 + [40]


@pytest.mark.parametrize("least", [1, 3, 8])
def test_shards_of_equal_rows_are_of_the_same_size(small, least):
    shards = plan([40] * 240, least)
    counts = [sum(shard["groups"]) for shard in shards]
    assert len(counts) == max(4, least) and max(counts) - min(counts) <= 1


def test_small_data_is_one_shard_with_one_row_group():
    assert [shard["groups"] for shard in plan([1000] * 50)] == [[50]]


def test_large_data_keeps_to_what_readers_and_the_hub_take():
    """600 MB: two files; row groups far below the 100 MB that the viewer takes."""
    sizes = [300_000] * 2000
    shards = plan(sizes)
    assert len(shards) == 2
    assert all(sum(group) <= 32_000_000 for part in parts_of(shards, sizes) for group in part)


def test_a_row_that_is_larger_than_a_row_group_is_one_alone():
    sizes = [100, 200_000_000, 100]
    assert [shard["groups"] for shard in plan(sizes)] == [[1, 1, 1]]


def test_a_shard_is_a_task_that_any_machine_can_do():
    """JSON, with the schema in it."""
    (shard,) = plan([5, 5])
    assert json.loads(json.dumps(shard)) == shard
    assert shards_of.schema_of(shard) == SCHEMA


# --- Files


ANSWERS = ["42", "null", "true", "[]", "{}", "1e3", "0.10", "是", "No", ' "', "NaN", "\0", "\u2028😀", "x" * 1000]


def rows_of(config: str) -> list[tuple[dict, list[bytes]]]:
    """Rows about a few images of all codings, with answers that are easily taken for something else."""
    palette = encoded(picture(2).convert("P"), "PNG", dpi=(72, 72))
    images = [png(0), jpeg(1), palette, png(3, mode="L"), png(4, mode="RGBA")]
    found = []
    for number, answer in enumerate(ANSWERS):
        several = 2 if (config, number) == ("chat", 5) or (config == "regions" and number % 2) else 1
        columns, _ = row(config, number, answer, several, metadata=json.dumps({"n": number, "answer": answer}))
        found.append((columns, [images[(number // 3 + more) % len(images)] for more in range(several)]))
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, dict[str, list]]:
    """A folder with all configs in two shards, and the rows that went in."""
    folder, given = tmp_path_factory.mktemp("shards"), {}
    for config in CONFIGS:
        given[config] = rows_of(config)
        for shard in write_rows(folder / "rows", config, "train", given[config], str(folder / "out"), least=2):
            write_shard(json.loads(json.dumps(shard)))
    return folder / "out", given


def loaded(folder, config: str, **options):
    files = {"train": str(folder / config / "train-*.parquet")}
    return load_dataset("parquet", data_files=files, split="train", **options)


def undecoded(dataset, config: str):
    for column in IMAGE_COLUMNS[config]:
        dataset = dataset.cast_column(column, List(Image(decode=False)) if config == "chat" else Image(decode=False))
    return dataset


def images_of(example: dict, config: str) -> list[dict]:
    """The images of a row, with their bytes."""
    if config == "chat":
        return example["images"]
    return [example[column] for column in IMAGE_COLUMNS[config] if example[column] is not None]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("config", CONFIGS)
def test_what_is_loaded_is_what_went_in(written, config, streaming):
    folder, given = written
    found = list(undecoded(loaded(folder, config, streaming=streaming), config))
    assert len(found) == len(given[config])
    for example, (columns, images) in zip(found, given[config], strict=True):
        assert [picture["bytes"] for picture in images_of(example, config)] == images
        for column in IMAGE_COLUMNS[config]:
            del example[column]
        assert example == columns and all(type(example[name]) is type(columns[name]) for name in columns)


def test_features_come_back_from_the_files_alone(written):
    folder, _ = written
    assert loaded(folder, "pairs").features == pair_features(CLASSES)
    assert loaded(folder, "pairs").features["label"].names == list(CLASSES)
    assert loaded(folder, "chat").features == chat_features()
    assert loaded(folder, "regions").features == region_features()


def test_images_are_decoded_as_they_are_coded(written):
    folder, _ = written
    assert [image.mode for image in loaded(folder, "pairs")["image"]][::3] == ["RGB", "RGB", "P", "L", "RGBA"]


@pytest.mark.parametrize("config", CONFIGS)
def test_image_bytes_are_not_compressed_and_all_else_is(written, config):
    folder, _ = written
    images = {"pairs": ["image.bytes"], "chat": ["images.list.element.bytes"], "regions": ["image.bytes", "mask.bytes"]}
    leaves = images[config]
    for path in sorted((folder / config).iterdir()):
        content, file = path.read_bytes(), pq.ParquetFile(path)
        compression = {}
        for group in range(file.metadata.num_row_groups):
            for column in range(file.metadata.num_columns):
                found = file.metadata.row_group(group).column(column)
                compression[found.path_in_schema] = found.compression
                if found.path_in_schema in leaves:
                    assert found.statistics is None  # the smallest and the largest image as bytes: of no use
        assert {compression.pop(leaf) for leaf in leaves} == {"UNCOMPRESSED"}
        assert set(compression.values()) == {"SNAPPY"}
        for example in pq.read_table(path).select(IMAGE_COLUMNS[config]).to_pylist():
            for image in images_of(example, config):
                assert image["bytes"] in content  # so that the Hub can store each part of the file once


@pytest.mark.parametrize("config", ["pairs", "chat"])
def test_a_row_group_holds_each_image_once(tmp_path, monkeypatch, config):
    """Of the questions about an image, and of its captions in two languages."""
    monkeypatch.setattr(shards_of, "ROW_GROUP_BYTES", 45_000)
    images = [random.Random(n).randbytes(20_000) for n in range(6)]
    rows = [(row(config, n, f"answer {n}")[0], [images[n // 4]]) for n in range(24)]
    (shard,) = write_rows(tmp_path / "rows", config, "train", rows, str(tmp_path))
    write_shard(shard)
    content = Path(shard["target"]).read_bytes()
    assert len(shard["groups"]) in (3, 4, 5) and len(content) < 10 * 20_000 + 60_000
    file = pq.ParquetFile(shard["target"])
    start = 0
    for number, count in enumerate(shard["groups"]):
        column = next(
            column
            for column in map(file.metadata.row_group(number).column, range(file.metadata.num_columns))
            if column.path_in_schema == shards_of.BYTES_LEAVES[config][0]
        )
        distinct = {rows[n][1][0] for n in range(start, start + count)}
        first = min(offset for offset in (column.dictionary_page_offset, column.data_page_offset) if offset)
        chunk = content[first : first + column.total_compressed_size]
        assert [chunk.count(image) for image in distinct] == [1] * len(distinct)
        assert len(chunk) < 20_000 * len(distinct) + 5_000
        start += count


def test_many_images_of_one_row_group_fit_its_dictionary(tmp_path):
    """Above a limit Parquet gives up its dictionary and writes every image again for each of its rows."""
    images = [random.Random(n).randbytes(100_000) for n in range(40)]
    rows = [(row("chat", n, f"answer {n}")[0], [images[n // 2]]) for n in range(80)]
    (shard,) = write_rows(tmp_path / "rows", "chat", "train", rows, str(tmp_path))
    found = write_shard(shard)
    assert shard["groups"] == [80] and found["rows"] == 80
    assert found["bytes"] == Path(shard["target"]).stat().st_size < 40 * 100_000 + 50_000
    assert found["memory"] > 80 * 100_000  # what a reader will hold


def test_readers_find_where_pages_are_cut(written):
    folder, _ = written
    for path in folder.rglob("*.parquet"):
        metadata = pq.ParquetFile(path).metadata
        assert json.loads(metadata.metadata[b"content_defined_chunking"])["min_chunk_size"] == 256 * 1024
        assert metadata.row_group(0).column(0).has_offset_index


def test_pages_are_cut_at_the_same_images_where_a_row_is_taken_out(tmp_path):
    """The content says where, not the place in the file: what did not change is found again, and stored once."""
    images = [random.Random(n).randbytes(50_000) for n in range(100)]
    rows = [(row("pairs", n, f"text {n}")[0], [image]) for n, image in enumerate(images)]
    cuts = []
    for name, some in (("a", rows), ("b", rows[:7] + rows[8:])):
        (shard,) = write_rows(tmp_path / name, "pairs", "train", some, str(tmp_path / name / "out"))
        write_shard(shard)
        content = Path(shard["target"]).read_bytes()
        length = (50_000).to_bytes(4, "little")  # stands before each image
        cuts.append({n for n in range(20, 99) if images[n] + length + images[n + 1] not in content})
    assert cuts[0] == cuts[1] and len(cuts[0]) > 3


@pytest.mark.parametrize("config", CONFIGS)
def test_the_files_are_the_same_whoever_writes_them(written, tmp_path, config):
    """In this process, in others, in another order."""
    _, given = written
    shards = write_rows(tmp_path / "rows", config, "train", given[config], str(tmp_path / "one"), least=5)
    tasks = {
        name: [shard | {"target": shard["target"].replace("/one/", f"/{name}/")} for shard in shards]
        for name in ("one", "backwards", "processes")
    }
    list(InProcess().map(write_shard, tasks["one"]))
    list(InProcess().map(write_shard, tasks["backwards"][::-1]))
    if config == "chat":
        engine = Processes(2)
        list(engine.map(write_shard, tasks["processes"]))
        engine.close()
        assert tree(tmp_path / "processes") == tree(tmp_path / "one")
    assert tree(tmp_path / "backwards") == tree(tmp_path / "one") and len(tree(tmp_path / "one")) == 5


def test_a_file_behind_an_address(tmp_path):
    given = rows_of("pairs")
    address = f"memory://{tmp_path.name}"
    (remote,) = write_rows(tmp_path / "rows", "pairs", "test", given, address)
    (local,) = write_rows(tmp_path / "rows2", "pairs", "test", given, str(tmp_path))
    assert write_shard(remote) == write_shard(local)
    assert remote["target"] == f"{address}/pairs/test-00000-of-00001.parquet"
    assert storage.read(remote["target"]) == Path(local["target"]).read_bytes()


def test_images_from_more_files_than_stay_open(tmp_path):
    def read(number: int, length: int) -> bytearray:
        target = bytearray(length)
        place = {"file": f"{number}.bin", "offset": 6, "edits": "", "content": digest_of(png(number))}
        images.read_into(memoryview(target), 0, place)
        return target

    for number in range(50):
        (tmp_path / f"{number}.bin").write_bytes(b"before" + png(number))
    with shards_of.Images([stage_in(tmp_path)]) as images:
        for number in [*range(50), 0, 49, 7]:
            assert read(number, len(png(number))) == png(number)
        assert len(images._files) <= 16
        for length in (len(png(7)) + 1, len(png(7)) - 1):
            with pytest.raises(
                BuildError, match=r"7\.bin is damaged; remove the folder that contains it, and run again"
            ):
                read(7, length)


@pytest.mark.parametrize("change", ["other bytes", "longer", "gone", "a link to a secret", "a folder", "a pipe"])
def test_a_file_that_changed_after_it_was_examined_is_not_published(tmp_path, change):
    """Links are not examined again, because nothing but the bytes of before gets past the hash."""
    folder, place = tmp_path / "raw", tmp_path / "raw/images/1.png"
    write_files(folder, {"images/1.png": png(1), "images/2.png": png(2), "secret": png(3)})
    shards = []
    for number in (1, 2):
        stays = {"file": f"images/{number}.png", "offset": -1, "edits": "", "length": len(png(number))}
        line = {"columns": row("pairs", 1, "x")[0], "stage": 0}
        line["images"] = [stays | {"name": "1.png", "content": digest_of(png(number))}]
        rows = write_files(tmp_path, {f"{number}.jsonl": json.dumps(line) + "\n"}) / f"{number}.jsonl"
        file = RowFile(rows)
        file.add(rows.stat().st_size, 10, line["images"])
        schema = pair_features(CLASSES).arrow_schema
        shards += plan_shards("pairs", "train", schema, file, [stage_in(folder)], str(tmp_path / f"out{number}"), 1)
    if change != "other bytes":
        place.unlink()
    match change:
        case "other bytes":
            place.write_bytes(png(9))
        case "longer":
            place.write_bytes(png(1) + b"x")
        case "a link to a secret":
            place.symlink_to(folder / "secret")
        case "a folder":
            place.mkdir()
        case "a pipe":
            os.mkfifo(place)
    with pytest.raises(BuildError, match=r"raw/images/1\.png: this file has changed since it was examined, or is gone"):
        write_shard(shards[0])
    write_shard(shards[1])
    (example,) = undecoded(load_dataset("parquet", data_files=shards[1]["target"], split="train"), "pairs")
    assert example["image"]["bytes"] == png(2)


def test_a_byte_of_the_cache_that_changed_is_noticed(tmp_path):
    (shard,) = write_rows(tmp_path / "rows", "chat", "train", rows_of("chat"), str(tmp_path / "out"))
    path = tmp_path / "rows/images-chat-train.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BuildError, match=r"images-chat-train\.bin is damaged"):
        write_shard(shard)


def test_equal_images_of_two_files_are_held_once(tmp_path):
    """In the cache a copy has a place of its own. What Parquet holds is the images, and no byte of other memory."""
    images = [random.Random(n).randbytes(5_000) for n in range(5)]
    shards = []
    for name, copies in (("copies", True), ("alone", False)):
        rows = [(row("chat", n, f"answer {n}")[0], [images[n // 4]]) for n in range(20)]
        (shard,) = write_rows(tmp_path / name, "chat", "train", rows, str(tmp_path / name / "out"))
        if copies:  # every second row has its image from another place
            path = Path(shard["rows"])
            (tmp_path / "copy.bin").write_bytes(b"".join(images))
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            for n, line in enumerate(lines[1::2]):
                line["images"][0] |= {"file": str(tmp_path / "copy.bin"), "offset": 5_000 * (n // 2)}
            content = [json.dumps(line) + "\n" for line in lines]
            path.write_text("".join(content))
            shard |= {"ends": [sum(map(len, content))]}
        write_shard(shard)
        shards.append(Path(shard["target"]).read_bytes())
    assert shards[0] == shards[1]
    column = pq.ParquetFile(tmp_path / "copies/out/chat/train-00000-of-00001.parquet").metadata.row_group(0).column(0)
    assert column.path_in_schema == "images.list.element.bytes"
    assert column.data_page_offset - column.dictionary_page_offset < 5 * 5_004 + 100


def test_a_cache_that_is_gone(tmp_path):
    (shard,) = write_rows(tmp_path / "rows", "pairs", "train", rows_of("pairs"), str(tmp_path / "out"))
    (tmp_path / "rows/images-pairs-train.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"images-pairs-train\.bin"):
        write_shard(shard)


def test_the_leaves_of_all_schemas():
    for config in CONFIGS:
        assert {*shards_of.BYTES_LEAVES[config]} < {*shards_of.leaf_names(features_of(config).arrow_schema)}
