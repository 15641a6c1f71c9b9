"""Checks that texts from the data cannot change the card's markup, and that the card shows a valid build command."""

from __future__ import annotations

import copy
import shlex
from pathlib import Path

import pytest

from model_cards.dataset_card import address
from tests.cases import few
from tests.model_cards import small_dataset
from tests.model_cards.markdown import HOSTILE, code_blocks, front_matter, headings, one_line, parse, tables

ROOT = Path(__file__).resolve().parents[2]


def test_settings_are_in_the_command(card_of, report):
    report["settings"] |= {"val_fraction": 0.25, "near_distance": 77, "seen": [3, 4]}
    (command,) = [block for block in code_blocks(card_of(report)) if "medpairs build" in block]
    assert "--val_fraction 0.25" in command and "--near_distance 77" in command and "--seen 3 4" in command
    assert "25% of the groups for validation" in card_of(report)


def test_the_command_leaves_out_what_is_a_default(card_of, report):
    report["defaults"] = {"val_fraction": 0.05, "test_fraction": 0.1, "window": "auto", "ocr": False}
    (command,) = [block for block in code_blocks(card_of(report)) if "medpairs build" in block]
    flags = [word for word in command.split() if word.startswith("--")]
    assert flags == ["--knee_dir", "--slake_dir", "--reports_dir", "--val_fraction", "--ocr", "--output_dir"]


@pytest.mark.parametrize("value", ["a b; rm -rf $HOME `id`", "it's", "```\n# title", "-x"])
def test_a_setting_is_one_word_of_the_command(card_of, report, value):
    plain = headings(card_of(report))
    report["settings"]["system_prompt"] = value
    text = card_of(report)
    (command,) = [block for block in code_blocks(text) if "medpairs build" in block]
    words = shlex.split(command.replace("\\\n", "").replace("<folder>", "folder"))
    assert words[words.index("--system_prompt") + 1] == value
    assert headings(text) == plain


@pytest.mark.parametrize("hostile", few((text for text in HOSTILE if "More Information" not in text), *HOSTILE[:3]))
def test_data_cannot_leave_its_place(card_of, report, hostile):
    def links(text: str) -> list:
        inline = [child for token in parse(text) for child in token.children or []]
        return [child.attrs for child in inline if child.type in ("image", "link_open")]

    def html(text: str) -> list:
        tokens = [child for token in parse(text) for child in [token, *(token.children or [])]]
        return [token.content for token in tokens if token.type.startswith("html")]

    counts = ("images", "images_in_several_files", "test_rows", "test_rows_seen_in_train")
    report["leakage"]["official"] = {"slake": dict.fromkeys(counts, 3)}
    report["leakage"]["examples"] = ["an example"]
    report["sources"]["knee_xray"] |= {"synthetic": False, "redistributable": False, "homepage": ""}
    samples = small_dataset.samples()
    plain = card_of(report, samples)
    changed = renamed_everywhere(copy.deepcopy(report), hostile)
    samples[0] = type(samples[0])(samples[0].data, hostile, hostile, hostile, hostile)
    text = card_of(changed, samples)
    assert headings(text) == headings(plain)
    assert html(text) == html(plain) and links(text) == links(plain)
    assert [[len(table), len(table[0])] for table in tables(text)] == [
        [len(table), len(table[0])] for table in tables(plain)
    ]
    cells = [cell for table in tables(text) for line in table for cell in line]
    assert cells.count(one_line(hostile)) >= 15
    fields = front_matter(text)
    assert fields["pretty_name"] == "Medical image-text pairs and chats" and len(fields["language"]) == 2
    assert set(fields) == set(front_matter(plain))


def renamed_everywhere(report: dict, hostile: str) -> dict:
    """The report with the text in every place that data can reach."""

    def rename(part: dict, name: str) -> None:
        part[hostile] = part.pop(name)

    knee = report["sources"]["knee_xray"]
    knee |= {"title": hostile, "licence": hostile, "citation": hostile, "homepage": hostile, "kind": hostile}
    knee["ignored"] = [hostile]
    knee["examples"] = {hostile: [{"item": hostile, "message": hostile}]}
    rename(knee["rejected"], "image_missing")
    rename(report["sources"], "knee_xray")
    for columns in report["rows_by"].values():
        for column, values in columns.items():
            if column != "label":
                rename(values, next(iter(values)))
    report["rows_by"]["pairs"]["label"][f"knee_xray/{hostile}"] = report["rows_by"]["pairs"]["label"].pop(
        "knee_xray/Normal"
    )
    report["classes"][0] = f"knee_xray/{hostile}"
    report["baselines"][0] |= {"source": hostile, "language": hostile, "rule": hostile}
    report["subgroups"] = {hostile: {hostile: {hostile: {"train": 1}, "unknown": {"train": 413}}}}
    for values in (report["duplicates"]["exact"], report["images"]["stripped"], report["images"]["formats"]):
        rename(values, next(iter(values)))
    rename(report["review"]["flags"], "phone_number")
    rename(report["leakage"]["checked"], "study")
    rename(report["leakage"]["official"], "slake")
    report["leakage"]["examples"] = [hostile]
    report["review"]["file"] = hostile
    report["coverage"] = [{"source": hostile, "language": hostile, "groups": 1, "missing": [hostile], "why": hostile}]
    rename(report["texts"]["pairs"], "en")
    report["settings"]["system_prompt"] = hostile
    return report


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://www.med-vqa.com/slake/", "<https://www.med-vqa.com/slake/>"),
        ("javascript:alert(1)", "`javascript:alert(1)`"),
        ("https://a.example/> <script>", "`https://a.example/> <script>`"),
        ("https://a.example/\n\n# x", "`https://a.example/ # x`"),
    ],
)
def test_only_a_plain_address_is_a_link(url, shown):
    assert address(url) == shown
