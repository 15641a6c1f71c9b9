"""Checks the page about a run: its numbers, pictures and links."""

from __future__ import annotations

import base64
import io
import json
import math
import shutil
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest
from datasets import load_dataset
from PIL import Image

from model_cards.controls import BLIND, CONTROLS, RETRIEVAL_CONTROLS
from model_cards.results import write_json
from model_cards.run_report import (
    PER_SOURCE,
    SHOWN_REJECTIONS,
    SHOWN_ROWS,
    THUMBNAIL,
    curve_svg,
    spread,
    write_run_page,
)
from model_cards.tables.reliance_tables import reliance_table, reliance_words
from tests.model_cards.all_controls import all_controls
from tests.model_cards.markdown import HOSTILE, one_line
from tests.model_cards.test_controls import RELIANCE

TEXTS = ["Knee X-ray: mild osteoarthritis.", "肝脏"]
VOID = {"meta", "img", "path", "polyline", "br", "link", "input"}
HISTORY = [
    {"loss": 8.0, "step": 10, "epoch": 0.5},
    {"eval_loss": 6.0, "step": 20, "epoch": 1.0},
    {"loss": 2.0, "step": 20, "epoch": 1.0},
]
SUMMARY = {
    "updates": 1540,
    "rows": {"train": 532, "validation": 50},
    "trainable_parameters": 662400,
    "parameters": 1929929,
    "history": HISTORY,
}


class Page(HTMLParser):
    """Parses a page into its elements and the texts of its tables and captions; unmatched tags are an error.

    The tables of a run's page are: sources, splits, rejections, found, said, then those of the
    leaderboard with image reliance.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.tables: list[list[list[str]]] = []
        self.captions: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == ["html"] or self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "figcaption":
            self.captions.append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "figcaption" in self.open:
            self.captions[-1] += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] = one_line(f"{self.tables[-1][-1][-1]} {data}")

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def hostile_build(build, tmp_path_factory) -> Path:
    """The build, with hostile texts, categories, sources and rejections."""
    folder = tmp_path_factory.mktemp("hostile") / "data"
    shutil.copytree(build, folder)
    (file,) = (folder / "pairs").glob("train-*")
    rows = load_dataset(str(build), "pairs", split="train")

    def spoil(row: dict, place: int) -> dict:
        hostile = HOSTILE[place % len(HOSTILE)]
        return {"text": hostile, "category": hostile, "source_dataset": f"source {place // 12} {hostile}"[:60]}

    rows.map(spoil, with_indices=True).to_parquet(file)
    with (folder / "rejections.jsonl").open("w", encoding="utf-8") as lines:
        for hostile in HOSTILE:
            fields = dict.fromkeys(("source", "item", "code", "message"), hostile)
            lines.write(json.dumps(fields, ensure_ascii=False) + "\n")
    return folder


@pytest.fixture(scope="module")
def write_page(build, tmp_path_factory):
    """A function: write_page(build, texts, ...) is the folder of a page whose predictions, models, tables and cards
    have these texts."""

    def write(data_dir: Path, texts: list[str], history: list[dict] = HISTORY) -> Path:
        root = tmp_path_factory.mktemp("run")
        write_json(root / "model" / "training_summary.json", SUMMARY | {"history": history})
        images = load_dataset(str(build), "pairs", split="test")["image_path"]
        paths = [images[place % len(images)] for place in range(len(texts))]
        found = [
            {
                "image_path": path,
                "text": text,
                "nearest": [{"text": text, "right": True}, {"text": "x", "right": False}],
            }
            for path, text in zip(paths, texts, strict=True)
        ]
        said = [
            {"image_path": path, "question": text, "reference": text, "generated": text}
            for path, text in zip(paths, texts, strict=True)
        ]
        predictions = {"found " + texts[0]: found, "said " + texts[0]: said}
        files = {}
        for place, (name, rows) in enumerate(predictions.items()):
            files[name] = root / f"{place}.jsonl"
            files[name].write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        table = {"task": "report_generation", "dataset": texts[0], "revision": "a4badc659361c5df3c", "split": texts[0]}
        table |= {"samples": 1418, "metrics": ["bleu", "loss"], "rule": "exact", "max_new_tokens": 64}
        shared, own = ([one for one in all_controls() if (one["name"] in BLIND) == blind] for blind in (True, False))
        rows = [{"model": text, "bleu": 38.4779, "loss": None, "controls": own, "reliance": {}} for text in texts]
        table["controls"] = shared
        rows[0] |= {"reliance": RELIANCE, "verdicts": ["Closed questions: **worse than the question prior**, -0.1."]}
        retrieval = table | {
            "task": "retrieval",
            "metrics": ["recall_at_5"],
            "rows": [{"model": "x", "recall_at_5": 1}],
        }
        retrieval["controls"] = all_controls(task="retrieval")
        write_json(root / "results" / "leaderboard.json", [table | {"rows": rows}, retrieval])
        cards = {f"org/{place}": text for place, text in enumerate(texts)} | {"a/b-c": "one", "a-b/c": "two"}
        write_run_page(root / "page.html", data_dir, {texts[0]: root / "model"}, root / "results", files, cards)
        return root

    return write


@pytest.fixture(scope="module")
def folder(build, write_page) -> Path:
    return write_page(build, TEXTS)


@pytest.fixture(scope="module")
def page(folder) -> Page:
    return Page((folder / "page.html").read_text(encoding="utf-8"))


def test_it_needs_no_other_file_and_no_network(page, folder):
    assert {tag for tag, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "base", "form"} == set()
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
    links = [attributes["href"] for attributes in page.of("a")]
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert links and {link[1:] for link in links if link.startswith("#")} <= ids
    cards = [link for link in links if not link.startswith("#")]
    assert [(folder / card).is_file() for card in cards] == [True] * 4 and len(set(cards)) == 4
    assert "url(" not in (folder / "page.html").read_text() and "@import" not in (folder / "page.html").read_text()


def test_images_are_thumbnails_of_the_build(page, build):
    sources = [attributes["src"] for attributes in page.of("img")]
    per_source = {}
    for split in load_dataset(str(build), "pairs").values():
        for source in split["source_dataset"]:
            per_source[source] = per_source.get(source, 0) + 1
    assert len(sources) == sum(min(count, PER_SOURCE) for count in per_source.values()) + 2 + 2
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/jpeg;base64"
        image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        image.load()
        assert max(image.size) <= THUMBNAIL and image.format == "JPEG"


def test_tables_have_the_numbers_of_the_files(page, build):
    report = json.loads((build / "report.json").read_text())
    read = page.tables[0][1:]
    assert [row[0] for row in read] == list(report["sources"])
    for name, *numbers, rejected in read:
        source = report["sources"][name]
        assert numbers == [f"{source[key]:,}" for key in ("read", "accepted", "images")]
        assert rejected == ", ".join(f"{code} {count}" for code, count in source["rejected"].items())
    assert page.tables[1][1:] == [[config, *map(str, counts.values())] for config, counts in report["splits"].items()]
    header, *lines = page.tables[5]
    assert header == ["#", "model", "BLEU", "loss"]
    assert [line[0] for line in lines if line[0]] == [str(place) for place in range(1, 1 + len(TEXTS))]
    lines = [line[1:] for line in lines]
    own = [f"└ {title}: left out" for name, title in CONTROLS.items() if name not in BLIND]
    shared = [f"{CONTROLS[name]}: left out" for name in BLIND]
    assert [line[0] for line in lines] == [*(title for text in TEXTS for title in (text, *own)), *shared]
    assert [line[1:] for line in lines if line[0] in TEXTS] == [["38.48", "–"]] * len(TEXTS)
    assert page.tables[6] == reliance_table(RELIANCE)
    assert one_line(reliance_words(RELIANCE)) in one_line(page.text)
    assert ", rule exact, at most 64 tokens" in one_line(page.text)
    assert "Closed questions: worse than the question prior, -0.1." in page.text
    left_out = [[f"{title}: left out", "–"] for title in RETRIEVAL_CONTROLS.values()]
    assert page.tables[7] == [["#", "model", "R@5"], ["1", "x", "1"], *(["", *line] for line in left_out)]
    assert "1,540 updates on" in page.text and "662,400 of 1,929,929 parameters" in one_line(page.text)
    assert "final value 2" in one_line(page.text) and "final value 6" in one_line(page.text)


def test_rejections_are_those_of_the_build(page, build):
    rejections = [json.loads(line) for line in (build / "rejections.jsonl").read_text("utf-8").splitlines()]
    others = [row for row in rejections if row["code"] != "duplicate_image"]
    assert f"{len(rejections)} rows and files were rejected" in page.text
    assert f"{len(rejections) - len(others)} of them are duplicates" in page.text
    shown = page.tables[2][1:]
    assert len(shown) == min(len(others), SHOWN_REJECTIONS)
    assert [row[2] for row in shown] == [row["code"] for row in others[:SHOWN_REJECTIONS]]


def test_the_checks_of_the_build_are_listed(page, build):
    report = json.loads((build / "report.json").read_text())
    text = one_line(page.text)
    checked = report["leakage"]["checked"]
    assert f"image {checked['image']}, " in text and f"patient {checked['patient']}, " in text
    assert "In more than one split: 0." in text
    near = report["duplicates"]["near"]
    assert near["clusters"] and f"{near['images']} images in {near['clusters']} clusters" in text
    several = report["leakage"]["official"]["slake"]
    assert f"share {several['images_in_several_files']} of its {several['images']} images" in text
    assert f"GPS {report['images']['stripped']['GPS']}" in text
    assert f"16 to 8 bits: {report['images']['windowed']}." in text
    for kind, count in report["review"]["flags"].items():
        assert f"{kind.replace('_', ' ')} {count}" in text


def test_predictions_are_marked_where_they_are_right(page):
    found, said = page.tables[3][1:], page.tables[4][1:]
    assert [row[1:] for row in found] == [[text, f"{text} x"] for text in TEXTS]
    assert [row[1:] for row in said] == [[text] * 3 for text in TEXTS]
    marked = [tag for tag, attributes in page.elements if attributes.get("class") == "right"]
    assert marked == ["li", "li", "td", "td"]


def test_hostile_texts_stay_texts(hostile_build, write_page, page):
    folder = write_page(hostile_build, HOSTILE)
    text = (folder / "page.html").read_text(encoding="utf-8")
    hostile = Page(text)
    assert {tag for tag, _ in hostile.elements} == {tag for tag, _ in page.elements}
    assert "<!-- comment" not in text and "49" not in [row[1] for row in hostile.tables[5]]
    titles = [row[1] for row in hostile.tables[5][1:] if not row[1].endswith(": left out")]
    assert titles == [one_line(text) for text in HOSTILE]
    assert [row[1] for row in hostile.tables[2][1:]] == [one_line(text) for text in HOSTILE]
    assert [row[1] for row in hostile.tables[4][1:]] == [one_line(text) for text in spread(HOSTILE)]
    assert {one_line(f"{text} {text}") for text in HOSTILE} <= set(map(one_line, hostile.captions))
    assert all(attributes["src"].startswith("data:image/jpeg;base64,") for attributes in hostile.of("img"))
    cards = sorted((folder / "cards").iterdir())
    assert len(cards) == len(HOSTILE) + 2
    shown = {one_line(Page(card.read_text(encoding="utf-8")).text) for card in cards}
    assert all(any(one_line(text) in card for card in shown) for text in HOSTILE)
    back = [Page(card.read_text(encoding="utf-8")).of("a")[0]["href"] for card in cards]
    assert set(back) == {"../page.html"}


def test_a_missing_value_is_an_error(build, write_page, tmp_path):
    shutil.copytree(build, tmp_path / "data")
    report = json.loads((build / "report.json").read_text())
    del report["sources"]["slake"]["accepted"]
    write_json(tmp_path / "data" / "report.json", report)
    with pytest.raises(jinja2.UndefinedError, match="accepted"):
        write_page(tmp_path / "data", ["x"])


def test_predictions_whose_image_is_not_in_the_build_are_left_out(build, hostile_build, write_page):
    folder = write_page(build, ["x"] * 3)
    rows = [json.loads(line) for line in (folder / "1.jsonl").read_text().splitlines()]
    rows[1]["image_path"] = "elsewhere.png"
    (folder / "1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_run_page(folder / "page.html", build, {}, folder / "results", {"said": folder / "1.jsonl"}, {})
    assert len(Page((folder / "page.html").read_text()).tables[3]) == 1 + 2


def test_a_curve():
    curve = curve_svg(HISTORY, width=100, height=80)
    assert curve["lines"] == {"loss": "50.0,0.0 100.0,60.0", "eval_loss": "100.0,20.0"}
    assert (curve["top"], curve["last"], curve["ends"]) == (8.0, 20, {"loss": 2.0, "eval_loss": 6.0})
    best = {"eval_loss": 4.0, "step": 20, "epoch": 1.0}  # of the best checkpoint, logged when all is over
    assert curve_svg([*HISTORY, best], width=100, height=80) == curve


@pytest.mark.parametrize("lost", [None, math.nan, math.inf])
def test_a_curve_ignores_losses_that_are_not_finite(lost, build, write_page):
    history = [*HISTORY, {"loss": lost, "step": 30, "epoch": 1.5}]
    assert curve_svg(history) == curve_svg(HISTORY)
    nothing = [{"loss": lost, "step": 1, "epoch": 1.0}, {"train_runtime": 3.0, "step": 1}]
    assert curve_svg(nothing)["lines"] == {} == curve_svg([])["lines"]
    assert curve_svg([{"loss": 0.0, "step": 0, "epoch": 0.0}])["lines"] == {"loss": "0.0,220.0"}
    root = write_page(build, ["x"], history=nothing)
    assert "polyline" not in (root / "page.html").read_text(encoding="utf-8")


def test_spread():
    assert spread(list(range(5)), 12) == [0, 1, 2, 3, 4]
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]
    assert len(spread(list(range(100)))) == SHOWN_ROWS
