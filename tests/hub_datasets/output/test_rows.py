"""Checks how accepted records become rows: one per text, per caption, per conversation, and the same as JSON lines."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count

import pytest

from hub_datasets.filesystem import storage
from hub_datasets.output import rows as rows_of
from hub_datasets.output.report import RowStatistics
from hub_datasets.records import Regions
from hub_datasets.schema import CONFIGS, IMAGE_COLUMNS, SPLITS, features_of
from hub_datasets.splits.groups import Fractions, key_digest
from hub_datasets.texts.validation import TextSettings
from tests.hub_datasets.hand_made import content_of, decide, make_stage, question, report, source_of
from tests.hub_datasets.layouts import read_lines
from tests.hub_datasets.shard_rows import digest_of

serial = count()


def stages_of(folder, records, images=None, **options):
    """One stage for the reports and one for SLAKE's questions, where there are any."""
    found = []
    for name in ("slake", "medical_reports"):
        own = [record for record in records if record.source == name]
        if own:
            found.append(make_stage(folder / name, own, images, source_of(name), **options))
    return found


def write(
    tmp_path, records, *, images=None, texts=TextSettings(), system_prompt="", stage=None, configs=CONFIGS, classes=(),  # noqa: B008
    samples=None, ungrounded="mark", **options,
):  # fmt: skip
    """(the lines of every file by config and split, what `write_rows` returns, the tables, the folder)."""
    folder = tmp_path / f"build-{next(serial)}"
    stages = stages_of(folder, records, images, **(stage or {}))
    decisions, _ = decide(folder, *stages, **({"fractions": Fractions(0), "ungrounded": ungrounded} | options))
    statistics = RowStatistics(configs, classes)
    written = rows_of.write_rows(
        decisions, folder, texts, system_prompt, statistics, configs, classes, samples, ungrounded=ungrounded
    )
    lines = {
        config: {split: read_lines(file.path) for split, file in parts.items()}
        for config, parts in written.files.items()
    }
    counted = {config: {s: len(p) for s, p in parts.items()} for config, parts in lines.items()}
    assert statistics.splits() == {config: parts for config, parts in counted.items() if parts or config != "regions"}
    return lines, written, decisions, folder


def columns_of(lines, config: str, split: str = "train") -> list[dict]:
    return [line["columns"] for line in lines[config][split]]


# --- Columns


def test_every_column_of_a_report(tmp_path):
    lines, _, decisions, _ = write(tmp_path, [report(1)])
    ((accepted,),) = decisions.accepted(0)
    common = {
        "image_path": "medical_reports/images/1.png", "source_dataset": "medical_reports", "category": "report",
        "language": "en", "license": "unknown", "group_id": f"image:{accepted.image['pixels']}",
        "official_split": None, "patient": None, "study": None, "modality": None, "body_part": None,
        "metadata": '{"n": 1, "view": ""}', "ungrounded": [],
    }  # fmt: skip
    (pair,), (chat,) = lines["pairs"]["train"], lines["chat"]["train"]
    assert pair["columns"] == common | {"text": "Report 1.", "label": None, "width": 12, "height": 10}
    asked = chat["columns"]["plain_messages"][0]["content"]
    assert chat["columns"] == common | {
        "messages": [
            {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": asked}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Report 1."}]},
        ],
        "plain_messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "Report 1."}],
        "marked_messages": [
            {"role": "user", "content": f"<image>{asked}"},
            {"role": "assistant", "content": "Report 1."},
        ],
        "template_id": chat["columns"]["template_id"], "context": "none",
        "answer_type": "", "location": "", "content_type": "",
    }  # fmt: skip
    assert chat["columns"]["template_id"].startswith("report-en-") and asked
    data = content_of("images/1.png")
    place = {"file": "images-000000.bin", "offset": 0, "edits": "", "length": len(data), "name": "1.png"}
    assert pair["images"] == chat["images"] == [place | {"content": digest_of(data)}] and pair["stage"] == 0


def test_an_image_that_stays_in_its_folder_is_named_by_its_path_there(tmp_path):
    """Under a folder's label, too, which is no part of the path."""
    stays = {"images/1.png": {"file": None, "offset": None, "edits": '[[3, 9, ""]]'}}
    for label in ("", "january"):
        lines, *_ = write(tmp_path, [report(1)], images=stays, stage={"label": label})
        ((place,),) = [line["images"] for line in lines["pairs"]["train"]]
        assert (place["file"], place["offset"], place["edits"]) == ("images/1.png", -1, '[[3, 9, ""]]')
        assert place["name"] == "1.png" and place["length"] == len(content_of("images/1.png"))


def test_every_column_of_a_question(tmp_path):
    fields = {"answer_type": "CLOSED", "content_type": "Organ", "location": "Lung", "modality": "CT"}
    lines, *_ = write(tmp_path, [question(1, 7, **fields)])
    (row,) = columns_of(lines, "chat")
    assert {name: row[name] for name in fields} == fields
    assert (row["template_id"], row["license"], row["image_path"]) == ("", "CC-BY-4.0", "slake/imgs/7/source.jpg")
    assert row["plain_messages"] == [{"role": "user", "content": "Question 1?"}, {"role": "assistant", "content": "42"}]
    assert (row["official_split"], row["body_part"], row["patient"]) == ("train", "lungs", None)
    assert json.loads(row["metadata"]) == {"modality": "CT", "location": "Lung", "qid": 1} | fields


def test_the_columns_are_those_of_the_schema(tmp_path):
    lines, *_ = write(tmp_path, [report(1), question(1, 1), LIVER])
    for config in CONFIGS:
        for row in columns_of(lines, config):
            assert {*row, *IMAGE_COLUMNS[config]} == set(features_of(config))


def test_a_patient_and_a_study_are_the_hashes_of_their_keys(tmp_path):
    """The same in all configs and splits, other ones in another source, and of several the first."""
    both = report(2, groups=("study:9", "patient:B", "patient:A"))
    in_file = {"images/3.png": {"groups": ["patient:C", "study:1"]}}
    lines, *_ = write(tmp_path, [report(1, groups=("patient:A",)), both, report(3), question(1, 1)], images=in_file)
    for config in ("pairs", "chat"):
        found = {row["image_path"][-12:]: (row["patient"], row["study"]) for row in columns_of(lines, config)}
        assert list(found.values()) == [
            (None, None),
            (key_digest("medical_reports/patient:A"), None),
            (key_digest("medical_reports/patient:A"), key_digest("medical_reports/study:9")),
            (key_digest("medical_reports/patient:C"), key_digest("medical_reports/study:1")),
        ]


def test_a_label_is_the_number_of_its_class(tmp_path):
    records = [report(n, label=label) for n, label in enumerate(("", "b", "a", "b", "strange"))]
    lines, *_ = write(tmp_path, records, classes=["medical_reports/a", "medical_reports/b"])
    assert [row["label"] for row in columns_of(lines, "pairs")] == [None, 1, 0, 1, None]
    other, *_ = write(tmp_path, records, classes=["knee_xray/a", "medical_reports/b"])
    assert [row["label"] for row in columns_of(other, "pairs")] == [None, 1, None, 1, None]


def test_only_the_configs_that_are_asked_for_are_written(tmp_path):
    for configs in (("pairs",), ("chat",), ("pairs", "regions")):
        lines, written, *_ = write(tmp_path, [report(1), question(1, 1), LIVER], configs=configs)
        assert tuple(lines) == configs == tuple(written.files)


# --- Regions

LIVER = Regions("slake", "imgs/1/source.jpg", (("Liver", 0.0, 2.0, 6.5, 8.0),), "imgs/1/mask.png")


def test_a_row_for_each_picture_with_regions(tmp_path):
    marked = [LIVER, Regions("slake", "imgs/2/source.jpg", (("Lung", 1, 1, 2, 2), ("Lung", 5, 5, 2, 2)))]
    records = [question(1, 1), question(2, 1, "zh", plane="axial"), question(3, 2), question(4, 3)]
    lines, written, *_ = write(tmp_path, [*records, *marked, Regions("slake", "imgs/9/source.jpg", ())])
    first, second = lines["regions"]["train"]
    assert first["columns"]["labels"] == ["Liver"] and first["columns"]["boxes"] == [[0.0, 2.0, 6.5, 8.0]]
    assert (second["columns"]["labels"], second["columns"]["boxes"]) == (["Lung"] * 2, [[1, 1, 2, 2], [5, 5, 2, 2]])
    assert [[place["name"] for place in row["images"]] for row in (first, second)] == [
        ["source.jpg", "mask.png"], ["source.jpg"],
    ]  # fmt: skip
    assert json.loads(first["columns"]["metadata"]) == {"modality": "CT", "location": "Lung"}
    assert (first["columns"]["width"], first["columns"]["height"]) == (12, 10)
    assert written.left_out[0] == []


@pytest.mark.parametrize(
    ("box", "mask", "why"),
    [
        ((6, 2, 7.5, 8), {}, "the box [6, 2, 7.5, 8] of 'Liver' is not inside the image of 12 x 10 pixels"),
        ((-1, 2, 2, 2), {}, "not inside"),
        ((1, 2, 0, 2), {}, "not inside"),
        ((6, 2, 7, 8), {"width": 13}, "13 x 10 pixels, and its image has 12 x 10"),
        ((6, 2, 7, 8), {"code": "image_truncated", "message": "cut"}, "the mask was left out: cut"),
        ((6, 2, 7, 8), {"window": "0:9"}, "more than 8 bits"),
    ],
)
def test_what_cannot_be_used_of_regions_is_left_out_by_name(tmp_path, box, mask, why):
    regions = replace(LIVER, boxes=(("Liver", *box), ("Lung", 1, 1, 2, 2)))
    lines, written, *_ = write(tmp_path, [question(1, 1), regions], images={"imgs/1/mask.png": mask} if mask else None)
    ((row,),) = lines["regions"].values()
    assert row["columns"]["labels"] == (["Liver", "Lung"] if mask else ["Lung"])
    assert len(row["images"]) == (1 if mask else 2)
    (ignored,) = written.left_out[0]
    assert why in ignored.why and "imgs/1/" in ignored.item


def test_an_image_of_which_no_region_is_left_has_no_row(tmp_path):
    regions = replace(LIVER, boxes=(("Liver", 0, 0, 99, 9),), mask="")
    lines, *_ = write(tmp_path, [question(1, 1), regions])
    assert lines["regions"] == {}


def test_what_the_project_drew_has_its_licence(tmp_path):
    lines, *_ = write(tmp_path, [report(1), question(1, 1), LIVER], stage={"synthetic": True})
    assert {row["license"] for config in CONFIGS for row in columns_of(lines, config)} == {"Apache-2.0"}


METADATA = {
    "empty": "", "unknown": "UNK", "no": "False", "null": None, "false": False, "zero": 0, "one": 1.0, "list": [],
    "digits": "42", "word": "null", "nested": {"a": [{"b": "true"}, None, -(2**63), 2**64 - 1]}, "": "key",
    "深": "肺\n", "small": 1e-12, "third": 1 / 3, "large": 1e300, "escaped": '"\\\0\u2028😀</script>',
}  # fmt: skip


def test_the_metadata_is_json_that_keeps_every_value(tmp_path):
    lines, *_ = write(tmp_path, [report(1, metadata=METADATA)])
    for config in ("pairs", "chat"):
        (row,) = columns_of(lines, config)
        found = json.loads(row["metadata"])
        assert found == METADATA and list(map(type, found.values())) == list(map(type, METADATA.values()))
        assert "肺" in row["metadata"]


def test_a_system_prompt_is_the_first_message(tmp_path):
    lines, *_ = write(tmp_path, [report(1), question(1, 1)], system_prompt="Be brief.")
    for row in columns_of(lines, "chat"):
        for column in ("plain_messages", "marked_messages"):
            roles = [message["role"] for message in row[column]]
            assert roles == ["system", "user", "assistant"] and row[column][0]["content"] == "Be brief."
        assert row["marked_messages"][1]["content"] == "<image>" + row["plain_messages"][1]["content"]
        types = [[part["type"] for part in message["content"]] for message in row["messages"]]
        assert types == [["text"], ["image", "text"], ["text"]]


# --- Splits and files


def test_splits_come_in_their_order_and_empty_ones_are_left_out(tmp_path):
    records = [question(n, n, official_split=split) for n, split in enumerate(("test", "train", "test"))]
    lines, written, *_ = write(tmp_path, records, split_by="official")
    for config in ("pairs", "chat"):
        found = {
            split: [json.loads(row["metadata"]) for row in columns_of(lines, config, split)] for split in lines[config]
        }
        assert list(found) == ["train", "test"] and [len(part) for part in found.values()] == [1, 2]
    assert {file.path.name for parts in written.files.values() for file in parts.values()} == {
        "pairs-train.jsonl", "pairs-test.jsonl", "chat-train.jsonl", "chat-test.jsonl",
    }  # fmt: skip


def test_the_rows_are_in_the_order_of_the_sources_and_those_about_one_picture_follow_each_other(tmp_path):
    records = [question(n, n % 5) for n in range(20)] + [report(n) for n in range(15)]
    lines, _, decisions, _ = write(tmp_path, records, fractions=Fractions(0.3, 0.3))
    splits = {one.record.item: one.split for number in (0, 1) for (one,) in decisions.accepted(number)}
    ordered = sorted(records[:20], key=lambda record: int(record.item.split()[1]) % 5) + records[20:]
    for split in SPLITS:
        numbers = [json.loads(row["metadata"]) for row in columns_of(lines, "chat", split)]
        found = [f"row {one['qid']}" if "qid" in one else f"line {one['n']}" for one in numbers]
        assert found == [record.item for record in ordered if splits[record.item] == split]


def test_where_each_line_ends_and_how_large_each_row_is(tmp_path):
    both = [report(n, conversation="study 1", text="Two views.") for n in (10, 11)]
    _, written, *_ = write(tmp_path, [*(report(n, text=f"肺 {n} " + "x" * 9 * n) for n in range(9)), *both])
    for parts in written.files.values():
        for file in parts.values():
            content = file.path.read_bytes()
            start, pictures = 0, zip(file.images, file.lengths, strict=True)
            for end, size, images in zip(file.ends, file.sizes, file.counts, strict=True):
                line = json.loads(content[start:end])
                assert content[end - 1 : end] == b"\n"
                # the same wherever the images lie, so that the same shards are cut in every folder
                coded = json.dumps(line["columns"], ensure_ascii=False).encode()
                assert size == len(coded) and images == len(line["images"])
                for place in line["images"]:
                    assert next(pictures) == (int(place["content"][:16], 16), place["length"])
                start = end
            assert start == len(content) and next(pictures, None) is None


# --- Captions


def test_a_caption_for_each_image_and_language(tmp_path):
    lines, *_ = write(tmp_path, [question(1, 1), question(2, 2), question(3, 1, "zh"), question(4, 1)])
    pairs = columns_of(lines, "pairs")
    assert [(row["image_path"], row["language"], json.loads(row["metadata"])["items"]) for row in pairs] == [
        ("slake/imgs/1/source.jpg", "en", ["row 1", "row 4"]),
        ("slake/imgs/1/source.jpg", "zh", ["row 3"]),
        ("slake/imgs/2/source.jpg", "en", ["row 2"]),
    ]
    assert pairs[0]["text"] == "CT image, lungs. Question 1? 42. Question 4? 42."
    assert [row["plain_messages"][0]["content"] for row in columns_of(lines, "chat")] == [
        f"Question {n}?" for n in (1, 3, 4, 2)
    ]


def test_the_metadata_of_a_caption_is_what_all_its_rows_say(tmp_path):
    lines, *_ = write(tmp_path, [question(1, 1, plane="axial", side="left"), question(2, 1, plane="coronal")])
    (row,) = columns_of(lines, "pairs")
    assert json.loads(row["metadata"]) == {"modality": "CT", "location": "Lung", "items": ["row 1", "row 2"]}


def test_a_caption_outside_the_bounds_is_left_out_by_name_and_its_chats_stay(tmp_path):
    records = [question(1, 1), question(2, 2, modality="M" * 60), question(3, 1, "zh")]
    lines, written, *_ = write(tmp_path, records, texts=TextSettings(20, 60))
    assert [json.loads(row["metadata"])["items"] for row in columns_of(lines, "pairs")] == [["row 1"], ["row 3"]]
    assert len(columns_of(lines, "chat")) == 3
    (ignored,) = written.left_out[0]
    assert (ignored.source, ignored.item) == ("slake", "caption of imgs/2/source.jpg (en)")
    assert "fewer than 60" in ignored.why


def test_captions_keep_to_the_bounds(tmp_path):
    folder = tmp_path / "build"
    decisions, _ = decide(folder, *stages_of(folder, [question(n, 1) for n in range(9)]))
    lengths = set()
    for longest in range(30, 120):
        ((_, columns, _),) = rows_of.pair_rows(decisions, 0, TextSettings(5, longest), [])
        assert 5 < len(columns["text"]) < longest
        lengths.add(len(columns["text"]))
    assert len(lengths) > 3


def test_the_caption_of_an_image_that_is_in_two_official_splits_is_made_of_the_rows_of_each(tmp_path):
    records = [question(n, 1, official_split=("train", "test")[n % 2]) for n in range(4)]
    lines, *_ = write(tmp_path, records, split_by="official")
    texts = [columns_of(lines, "pairs", split)[0]["text"] for split in ("train", "test")]
    assert texts == [
        "CT image, lungs. Question 0? 42. Question 2? 42.",
        "CT image, lungs. Question 1? 42. Question 3? 42.",
    ]


# --- Conversations


def test_all_questions_of_an_image_are_one_conversation_if_asked_for(tmp_path):
    records = [question(1, 1, answer_type="OPEN"), question(2, 2), question(3, 1, "zh"),
               question(4, 1, answer_type="CLOSED"), report(5)]  # fmt: skip
    single, *_ = write(tmp_path, records)
    multi, *_ = write(tmp_path, records, turns="multi")
    assert multi["pairs"] != [] and columns_of(multi, "pairs") == columns_of(single, "pairs")
    rows = columns_of(multi, "chat")
    assert [len(row["plain_messages"]) for row in rows] == [4, 2, 2, 2] and len(columns_of(single, "chat")) == 5
    first = rows[0]
    assert [message["content"] for message in first["plain_messages"]] == ["Question 1?", "42", "Question 4?", "42"]
    assert [message["role"] for message in first["plain_messages"]] == ["user", "assistant"] * 2
    assert [message["content"] for message in first["marked_messages"]][:3] == [
        "<image>Question 1?", "42", "Question 4?",
    ]  # fmt: skip
    assert json.loads(first["metadata"]) == {"modality": "CT", "location": "Lung", "items": ["row 1", "row 4"]}
    assert (first["answer_type"], first["modality"]) == ("", "CT")  # the turns differ
    assert len(multi["chat"]["train"][0]["images"]) == 1


def test_several_images_of_one_examination(tmp_path):
    both = [report(n, conversation="study 1", text="Two views.") for n in (1, 2)]
    lines, _, _, folder = write(tmp_path, [report(0), *both, report(3)])
    assert len(columns_of(lines, "pairs")) == 4
    chats = lines["chat"]["train"]
    assert [len(line["images"]) for line in chats] == [1, 2, 1]
    row, single = chats[1]["columns"], chats[0]["columns"]
    assert [place["name"] for place in chats[1]["images"]] == ["1.png", "2.png"]
    size = len(content_of("images/0.png"))
    assert [(place["offset"], place["length"]) for place in chats[1]["images"]] == [(size, size), (2 * size, size)]
    assert row["marked_messages"][0]["content"] == "<image><image>" + row["plain_messages"][0]["content"]
    assert row["image_path"] == "medical_reports/images/1.png"
    assert json.loads(row["metadata"]) == {"view": "", "items": ["line 1", "line 2"]}
    assert json.loads(single["metadata"]) == {"n": 0, "view": ""}
    rows_of.write_chat_instructions(folder, folder / "chat.jsonl")
    line, raw = read_lines(folder / "chat.jsonl")[1], folder / "raw"
    assert line["images"] == [f"{raw}/images/1.png", f"{raw}/images/2.png"] and "image" not in line


# --- chat_instructions.jsonl


@pytest.mark.parametrize("turns", ["single", "multi"])
def test_chat_instructions_are_the_chat_rows_with_paths_as_they_were_given(tmp_path, turns):
    records = [question(3, 1, "zh"), question(4, 1, "zh"), report(1), *(report(n) for n in range(5, 30))]
    records[0].question = "问题三？"
    lines, _, decisions, folder = write(tmp_path, records, turns=turns, fractions=Fractions(0.2, 0.2),
                                        stage={"read_from": "data/raw"})  # fmt: skip
    rows_of.write_chat_instructions(folder, folder / "chat.jsonl")
    paths = {accepted.record.image: accepted.path for stage in (0, 1) for (accepted,) in decisions.accepted(stage)}
    found = read_lines(folder / "chat.jsonl")
    chats = [(split, line) for split in SPLITS for line in lines["chat"][split]]
    assert len(found) == len(chats) and list(found[0])[:2] == ["image", "messages"]
    for instruction, (split, line) in zip(found, chats, strict=True):
        columns = line["columns"]
        assert instruction["split"] == split and instruction["metadata"] == json.loads(columns["metadata"])
        assert instruction["image"] == f"data/raw/{paths[columns['image_path'].partition('/')[2]]}"
        rest = set(columns) - {"messages", "plain_messages", "marked_messages", "image_path", "metadata"}
        assert {name: instruction[name] for name in rest} == {name: columns[name] for name in rest}
        assert instruction["messages"] == columns["plain_messages"]
        assert set(instruction) == rest | {"image", "messages", "split", "metadata"}
    assert "问题三？" in (folder / "chat.jsonl").read_text("utf-8")


def test_a_folder_whose_name_is_not_utf_8(tmp_path):
    folder = tmp_path / "caf\udce9"
    decisions, _ = decide(folder / "build", *stages_of(folder, [report(1)], read_from="data/caf\udce9"))
    rows_of.write_rows(decisions, folder, TextSettings(), "", RowStatistics())
    rows_of.write_chat_instructions(folder, folder / "chat.jsonl")
    (line,) = read_lines(folder / "chat.jsonl")
    assert line["image"] == "data/caf\udce9/images/1.png"
    (row,) = read_lines(folder / "chat-train.jsonl")
    assert row["images"][0]["file"] == "images-000000.bin"


# --- The fingerprint


def fingerprint(tmp_path, records, **options) -> str:
    return write(tmp_path, records, **options)[1].fingerprint


RECORDS = (question(1, 1), question(2, 1), report(1), report(2))


def changed(number: int, **fields) -> list:
    return [replace(record, **fields) if n == number else record for n, record in enumerate(RECORDS)]


def test_the_fingerprint_is_of_the_content_not_of_the_place(tmp_path):
    """The folders of sources, stages and scratch differ, and so does the order in which images were examined."""
    found = {fingerprint(tmp_path, RECORDS), fingerprint(tmp_path, RECORDS, stage={"read_from": "memory://elsewhere"})}
    assert len(found) == 1 and all(len(one) == 16 and int(one, 16) for one in found)


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (2, {"text": "Report 1!"}),
        (2, {"category": "x"}),
        (2, {"image": "images/x.png"}),
        (2, {"language": "zh"}),
        (2, {"metadata": {"n": 1, "view": None}}),
        (2, {"metadata": {"n": 1.0, "view": ""}}),
        (2, {"groups": ("patient:1",)}),
        (0, {"question": "Question 1!"}),
        (0, {"answer": "43"}),
    ],
    ids=str,
)
def test_every_column_changes_the_fingerprint(tmp_path, number, fields):
    assert fingerprint(tmp_path, changed(number, **fields)) != fingerprint(tmp_path, RECORDS)


def test_every_byte_of_every_image_changes_the_fingerprint(tmp_path):
    """The pixels, and so the groups, are the same: another coding of the same picture is another file."""
    contents = {name: content_of(name) for name in ("imgs/1/source.jpg", "images/1.png", "images/2.png")}
    known = {name: {"pixels": f"{n:032x}", "data": data} for n, (name, data) in enumerate(contents.items())}
    found = {fingerprint(tmp_path, RECORDS, images=known)}
    for name, data in contents.items():
        for place in (0, len(data) // 2, len(data) - 1):
            other = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            found.add(fingerprint(tmp_path, RECORDS, images=known | {name: known[name] | {"data": other}}))
    assert len(found) == 10


def test_splits_prompts_and_turns_change_the_fingerprint(tmp_path):
    found = [
        fingerprint(tmp_path, RECORDS),
        fingerprint(tmp_path, RECORDS, system_prompt="Be brief."),
        fingerprint(tmp_path, RECORDS, turns="multi"),
        fingerprint(tmp_path, RECORDS, stage={"synthetic": True}),
        fingerprint(tmp_path, changed(0, official_split="test"), split_by="official"),
    ]
    assert len(set(found)) == 5


# --- What no image shows

SAID = "The lungs are clear. Heart size is unchanged. PA and lateral views of the chest."


@pytest.mark.parametrize(("mode", "kinds"), [("mark", ["comparison", "view"]), ("keep", [])])
def test_what_no_image_shows_is_marked_and_with_keep_only_counted(tmp_path, mode, kinds):
    lines, *_ = write(tmp_path, [report(1, text=SAID), report(2)], ungrounded=mode)
    for config in ("pairs", "chat"):
        assert [columns["ungrounded"] for columns in columns_of(lines, config)] == [kinds, []]
    statistics = RowStatistics()
    statistics.add("pairs", "train", columns_of(lines, "pairs")[0])
    assert statistics.targets.ungrounded.total() == (mode == "mark")


def test_a_conversation_may_name_as_many_views_as_it_has_images(tmp_path):
    views = [report(n, text=SAID, conversation="study 1", groups=("study:1",)) for n in (1, 2)]
    lines, *_ = write(tmp_path, views)
    assert [columns["ungrounded"] for columns in columns_of(lines, "pairs")] == [["comparison", "view"]] * 2
    assert [columns["ungrounded"] for columns in columns_of(lines, "chat")] == [["comparison"]]


def test_strip_takes_the_sentences_out_and_keeps_the_original(tmp_path):
    views = [report(n, text=SAID, conversation="study 1", groups=("study:1",)) for n in (1, 2)]
    lines, *_ = write(tmp_path, views, ungrounded="strip")
    (chat,) = columns_of(lines, "chat")
    assert chat["plain_messages"][-1]["content"] == "The lungs are clear. PA and lateral views of the chest."
    for columns in (chat, *columns_of(lines, "pairs")):
        assert json.loads(columns["metadata"])["original_text"] == SAID and columns["ungrounded"] == []
    assert {columns["text"] for columns in columns_of(lines, "pairs")} == {"The lungs are clear."}, "of one view"


def test_a_pair_that_names_other_views_is_left_out_where_its_study_is_kept(tmp_path):
    text = "PA and lateral views: clear lungs."
    views = [report(n, text=text, conversation="study 1", groups=("study:1",)) for n in (1, 2)] + [report(3)]
    for mode in ("strip", "reject"):
        lines, written, *_ = write(tmp_path, views, ungrounded=mode)
        assert [columns["text"] for columns in columns_of(lines, "pairs")] == ["Report 3."]
        assert sorted(len(line["images"]) for line in lines["chat"]["train"]) == [1, 2]
        left_out = [one for several in written.left_out.values() for one in several]
        assert len(left_out) == 2 and all("(view)" in one.why for one in left_out)


def test_all_answers_of_an_image_are_audited(tmp_path):
    records = [question(number, 1) for number in range(3)]
    for record, answer in zip(records, ("Chest pain", "Lung", "Quit smoking"), strict=True):
        record.answer = answer
    lines, *_ = write(tmp_path, records)
    assert [c["ungrounded"] for c in columns_of(lines, "chat")] == [["symptoms"], [], ["history"]]
    lines, *_ = write(tmp_path, records, turns="multi")
    assert [c["ungrounded"] for c in columns_of(lines, "chat")] == [["history", "symptoms"]]
    lines, *_ = write(tmp_path, records, turns="multi", ungrounded="strip")
    assert [turn["content"] for turn in columns_of(lines, "chat")[0]["plain_messages"]][1:] == ["Lung"]
    records[0].answer = "Pleural effusion. Chest pain."
    lines, *_ = write(tmp_path, records[:2], turns="multi", ungrounded="strip")
    (chat,) = columns_of(lines, "chat")
    assert chat["plain_messages"][1]["content"] == "Pleural effusion."
    assert json.loads(chat["metadata"])["original_text"] == ["Pleural effusion. Chest pain.", None]


def test_a_record_with_context_is_two_conversations(tmp_path):
    lines, *_ = write(tmp_path, [report(1, context="Man aged 50 years."), report(2)])
    assert len(columns_of(lines, "pairs")) == 2
    plain, clinical, other = columns_of(lines, "chat")
    assert [c["context"] for c in (plain, clinical, other)] == ["none", "clinical", "none"]
    assert clinical["plain_messages"][0]["content"] == (
        plain["plain_messages"][0]["content"] + "\n\nClinical context: Man aged 50 years."
    )
    assert clinical["plain_messages"][1] == plain["plain_messages"][1] and clinical["ungrounded"] == []
    assert clinical["template_id"] == plain["template_id"] and clinical["group_id"] == plain["group_id"]


# --- For workers elsewhere, and for the card


@pytest.mark.parametrize("remote", [False, True])
def test_files_of_rows_are_where_workers_see_them(tmp_path, remote):
    """Behind an address, while they are needed, if the cache lies there; else where they are, which is in the cache."""
    _, written, *_ = write(tmp_path, [report(n) for n in range(3)])
    files = {(c, s): file for c, parts in written.files.items() for s, file in parts.items()}
    before = {place: (str(file.path), file.path.read_bytes()) for place, file in files.items()}
    cache = f"memory://{tmp_path.name}/cache" if remote else str(tmp_path / "cache")
    with rows_of.shared(written, cache):
        for (config, split), (path, content) in before.items():
            file = files[config, split]
            assert str(file.path) == (f"{cache}/rows/{config}-{split}.jsonl" if remote else path)
            assert storage.read(str(file.path)) == content
    assert storage.names_in(cache) == []


def test_files_of_rows_are_taken_back_when_a_build_fails(tmp_path):
    _, written, *_ = write(tmp_path, [report(n) for n in range(3)])
    cache = f"memory://{tmp_path.name}/cache"
    with pytest.raises(OSError, match="network"), rows_of.shared(written, cache):
        assert storage.names_in(cache) == ["rows"]
        raise OSError("network")
    assert storage.names_in(cache) == []
