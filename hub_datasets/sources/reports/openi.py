"""Reads the XML reports of the Indiana University chest X-rays (OpenI), and finds their images.

`NLMCXR_reports.tgz` unpacks to `ecgen-radiology/<n>.xml`, with one report per file. The images are named after the IDs
in `<parentImage>`. Words that were removed for privacy read `XXXX`; they are kept and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.parsers import expat

from hub_datasets.records import Problem, RawRecord, Reason, Rejection
from hub_datasets.sources.reports.image_names import Images
from hub_datasets.sources.reports.language import language_named
from hub_datasets.sources.reports.row_texts import SHOWN_LANGUAGES
from hub_datasets.sources.reports.rows import NAME
from hub_datasets.texts.patient_ids import study_key

ROOT = "eCitation"
MAX_BYTES = 1024 * 1024  # the largest of the 3,955 real ones has 8,967
SECTIONS = ("FINDINGS", "IMPRESSION")
REMOVED = "XXXX"


class Doctype(Exception):
    """Raised for a file that declares a document type."""


def parse_xml(data: bytes) -> ElementTree.Element | Problem:
    """Returns the root element of a file.

    A document type is refused as soon as it begins, before its content is read: it can declare entities, of which a few
        lines expand to gigabytes, or refer to local files or remote addresses. No real report has one. Without it, the
        size of the tree is bounded by that of the file.
    """
    if len(data) > MAX_BYTES:
        return Problem(Reason.MALFORMED_ROW, f"{len(data):,} bytes; a report has at most {MAX_BYTES:,}")

    def refuse(*_: object) -> None:
        raise Doctype

    tree = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.data
    try:
        parser.Parse(data, True)
        return tree.close()
    except Doctype:
        message = "the file has a <!DOCTYPE>, which may declare entities that expand without limit; remove it"
        return Problem(Reason.MALFORMED_ROW, message)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two for encodings that are not known
        return Problem(Reason.MALFORMED_ROW, f"not valid XML: {error}")


def read_report(name: str, data: bytes, images: Images) -> Iterator[RawRecord | Rejection] | None:
    """Returns the records of a file, one per image of its report; None if it is XML of another kind."""
    root = parse_xml(data)
    if isinstance(root, Problem):
        return iter([Rejection(NAME, name, root.code, root.message)])
    return make_records(name, root, images) if root.tag == ROOT else None


def make_records(name: str, root: ElementTree.Element, images: Images) -> Iterator[RawRecord | Rejection]:
    """Yields a record for each image of a report, or one rejection if it has no text, images or language."""
    sections: dict[str, str] = {}
    for section in root.iter("AbstractText"):
        label = section.get("Label", "").strip().upper()
        sections[label] = " ".join(f"{sections.get(label, '')} {''.join(section.itertext())}".split())
    text = " ".join(f"{label.capitalize()}: {sections[label]}" for label in SECTIONS if sections.get(label))
    if not text:
        yield Rejection(NAME, name, Reason.TEXT_EMPTY, "the report has neither FINDINGS nor IMPRESSION")
        return
    parents = [(parent.get("id", "").strip(), parent) for parent in root.iter("parentImage")]
    if not parents:
        yield Rejection(NAME, name, Reason.IMAGE_MISSING, "the report names no image")
        return
    named = first_text(root, "Language") or "eng"
    language = language_named(named)
    if language is None:
        yield Rejection(NAME, name, Reason.MALFORMED_ROW, f"language {named!r:.80}; expected {SHOWN_LANGUAGES}")
        return
    report = root.find("uId")
    study = re.sub(r"\ACXR", "", report.get("id", "").strip()) if report is not None else ""
    metadata = {
        "report_id": study,
        "comparison": sections.get("COMPARISON", ""),
        "indication": sections.get("INDICATION", ""),
        "major": [" ".join((term.text or "").split()) for term in root.iter("major")],
        "automatic": [" ".join((term.text or "").split()) for term in root.iter("automatic")],
        "removed_words": text.count(REMOVED),
        "licence": first_text(root, "licenseURL"),
    }
    for number, (image_id, parent) in enumerate(parents, 1):
        item = f"{name} image {number}"
        image = images.find_stem(image_id)
        if isinstance(image, Problem):
            yield Rejection(NAME, item, image.code, image.message)
            continue
        yield RawRecord(
            source=NAME,
            item=item,
            image=image,
            category="report",
            language=language,
            text=text,
            groups=(key,) if (key := study_key(study)) else (),
            conversation=name,
            modality="X-ray",
            body_part="chest",
            metadata={"image_id": image_id, "image_caption": first_text(parent, "caption"), **metadata},
        )


def first_text(element: ElementTree.Element, tag: str) -> str:
    """Returns the text of the first element of a kind, with single blanks; empty if there is none."""
    found = next(element.iter(tag), None)
    return " ".join("".join(found.itertext()).split()) if found is not None else ""
