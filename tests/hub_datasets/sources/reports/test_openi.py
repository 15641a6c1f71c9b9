"""Checks OpenI reports in the structure of the real ones, and defenses against harmful XML."""

from __future__ import annotations

import zipfile

import pytest

from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored, Problem, RawRecord, Reason, Rejection
from hub_datasets.sources.medical_reports import read
from hub_datasets.sources.reports.openi import MAX_BYTES, parse_xml
from hub_datasets.texts.patient_ids import study_key
from tests.hub_datasets.layouts import collect_records, png, write_files

SECTIONS = {
    "COMPARISON": "None.",
    "INDICATION": "Positive TB test",
    "FINDINGS": "Heart size is normal.\n   No pleural effusion &amp; no XXXX pneumothorax.",
    "IMPRESSION": "Normal chest x-XXXX.",
}


def report(number: int, images: int = 2, head: str = '<?xml version="1.0" encoding="utf-8"?>\n', **sections) -> str:
    """The XML of a report; a section of None is an empty element, as the real ones have."""
    texts = SECTIONS | sections
    abstract = "".join(
        f'\n            <AbstractText Label="{label}"/>' if text is None else
        f'\n            <AbstractText Label="{label}">{text}</AbstractText>'
        for label, text in texts.items()
    )  # fmt: skip
    parents = "".join(
        f"""
   <parentImage id="CXR{number}_IM-{number:04d}-{n}001">
      <figureId>F{n}</figureId>
      <caption>Xray Chest  PA and Lateral </caption>
      <panel type="single">
         <url>/hadoop/storage/radiology/extract/CXR{number}_IM-{number:04d}-{n}001.jpg</url>
         <imgModality>7</imgModality>
         <region type="panel"><globalImageFeatures><CEDD>f2p0k1352</CEDD></globalImageFeatures></region>
      </panel>
   </parentImage>"""
        for n in range(1, images + 1)
    )
    return f"""{head}<eCitation>
   <meta type="rr"/>
   <uId id="CXR{number}"/>
   <pmcId id="{number}"/>
   <licenseType>open-access</licenseType>
   <licenseURL>http://creativecommons.org/licenses/by-nc-nd/4.0/</licenseURL>
   <MedlineCitation Owner="Indiana University" Status="supplied by publisher">
      <Article PubModel="Electronic">
         <Abstract>{abstract}
         </Abstract>
         <Language>eng</Language>
      </Article>
   </MedlineCitation>
   <MeSH>
      <major>Opacity/lung/base/left</major>
      <major>Pulmonary  Atelectasis</major>
      <automatic>atelectases</automatic>
   </MeSH>{parents}
</eCitation>"""


def write_openi(folder, reports: dict[int, str], images: list[str]):
    files = {f"ecgen-radiology/{number}.xml": xml for number, xml in reports.items()}
    return write_files(folder, files | {f"NLMCXR_png/{name}.png": png(n) for n, name in enumerate(images)})


def found_in(folder) -> list:
    return [entry for entry in read(Folder(folder)) if not isinstance(entry, Ignored)]


def test_a_report_with_two_images(tmp_path):
    write_openi(tmp_path, {7: report(7)}, ["CXR7_IM-0007-1001", "CXR7_IM-0007-2001"])
    first, second = collect_records(read(Folder(tmp_path)))
    assert first.text == (
        "Findings: Heart size is normal. No pleural effusion & no XXXX pneumothorax. Impression: Normal chest x-XXXX."
    )
    assert (first.item, second.item) == ("ecgen-radiology/7.xml image 1", "ecgen-radiology/7.xml image 2")
    assert (first.image, second.image) == (
        "NLMCXR_png/CXR7_IM-0007-1001.png", "NLMCXR_png/CXR7_IM-0007-2001.png",
    )  # fmt: skip
    assert (first.category, first.language, first.groups) == ("report", "en", (study_key("7"),))
    assert first.conversation == second.conversation != ""
    assert first.metadata == {
        "image_id": "CXR7_IM-0007-1001",
        "image_caption": "Xray Chest PA and Lateral",
        "report_id": "7",
        "comparison": "None.",
        "indication": "Positive TB test",
        "major": ["Opacity/lung/base/left", "Pulmonary Atelectasis"],
        "automatic": ["atelectases"],
        "removed_words": 2,
        "licence": "http://creativecommons.org/licenses/by-nc-nd/4.0/",
    }


def test_a_zip_file_is_read_as_it_is(tmp_path):
    with zipfile.ZipFile(tmp_path / "reports.zip", "w") as archive:
        archive.writestr("ecgen-radiology/1.xml", report(1, images=1))
        archive.writestr("__MACOSX/ecgen-radiology/._1.xml", b"\0\5\x16\7")
    write_files(tmp_path, {"CXR1_IM-0001-1001.png": png(1)})
    (record,) = collect_records(found_in(tmp_path))
    assert (record.item, record.image) == ("reports.zip/ecgen-radiology/1.xml image 1", "CXR1_IM-0001-1001.png")


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"FINDINGS": None}, "Impression: Normal chest x-XXXX."),
        ({"IMPRESSION": " \n "}, "Findings: Heart size is normal. No pleural effusion & no XXXX pneumothorax."),
        ({"FINDINGS": "One <b>bold</b> word."}, "Findings: One bold word. Impression: Normal chest x-XXXX."),
    ],
)
def test_sections_that_are_not_there(tmp_path, sections, text):
    write_openi(tmp_path, {7: report(7, images=1, **sections)}, ["CXR7_IM-0007-1001"])
    (record,) = collect_records(found_in(tmp_path))
    assert record.text == text and record.metadata["removed_words"] == text.count("XXXX")


@pytest.mark.parametrize(
    ("xml", "code", "message"),
    [
        (report(7, FINDINGS=None, IMPRESSION=""), Reason.TEXT_EMPTY, "neither FINDINGS nor IMPRESSION"),
        (report(7, images=0), Reason.IMAGE_MISSING, "names no image"),
        (report(7).replace("eng<", "elvish<"), Reason.MALFORMED_ROW, "language 'elvish'"),
        (report(7)[:-300], Reason.MALFORMED_ROW, "not valid XML"),
        ("", Reason.MALFORMED_ROW, "not valid XML: no element found"),
        (report(7, FINDINGS="a < b"), Reason.MALFORMED_ROW, "not valid XML"),
        (report(7).encode("latin-1").replace(b"Positive", b"\xe9"), Reason.MALFORMED_ROW, "not valid XML"),
        (report(7, head='<?xml version="1.0" encoding="rot13"?>'), Reason.MALFORMED_ROW, "not valid XML"),
        (report(7, head='<?xml version="1.0" encoding="gbk"?>'), Reason.MALFORMED_ROW, "not valid XML"),
        (report(7, FINDINGS="&nbsp;"), Reason.MALFORMED_ROW, "undefined entity"),
    ],
)
def test_a_report_that_cannot_be_used_is_one_rejection(tmp_path, xml, code, message):
    write_openi(tmp_path, {7: xml, 8: report(8, images=1)}, ["CXR8_IM-0008-1001"])
    rejection, record = found_in(tmp_path)
    assert isinstance(record, RawRecord)
    assert (rejection.item, rejection.code) == ("ecgen-radiology/7.xml", code) and message in rejection.message


def test_an_image_that_is_not_there_is_a_rejection_of_its_own(tmp_path):
    write_openi(tmp_path, {7: report(7, images=3)}, ["CXR7_IM-0007-1001", "CXR7_IM-0007-3001"])
    _, rejection, _ = found_in(tmp_path)
    assert isinstance(rejection, Rejection)
    assert (rejection.item, rejection.code) == ("ecgen-radiology/7.xml image 2", Reason.IMAGE_MISSING)


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1", "utf-8-sig"])
def test_encodings_that_xml_declares(tmp_path, encoding):
    head = "" if encoding == "utf-8-sig" else f'<?xml version="1.0" encoding="{encoding}"?>'
    xml = report(7, images=1, head=head, FINDINGS="25 °C é").encode(encoding)
    (record,) = collect_records(found_in(write_openi(tmp_path, {7: xml}, ["CXR7_IM-0007-1001"])))
    assert record.text.startswith("Findings: 25 °C é ")


LAUGHS = "<!DOCTYPE x [<!ENTITY l0 'ha'>" + "".join(
    f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 12)
) + "]>"  # fmt: skip
ATTACKS = {
    "billion laughs": (LAUGHS, "&l11;"),
    "quadratic": (f"<!DOCTYPE x [<!ENTITY a '{'a' * 50_000}'>]>", "&a;" * 10_000),
    "a file": ("<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/hostname'>]>", "&a;"),
    "an address": ("<!DOCTYPE x SYSTEM 'http://127.0.0.1:9/x.dtd'>", "clear"),
    "a parameter": ("<!DOCTYPE x [<!ENTITY % a SYSTEM 'file:///etc/hostname'> %a;]>", "clear"),
    "one that is not valid": ("<!DOCTYPE x [<!ENTITY a ", "clear"),
    "a default attribute": ("<!DOCTYPE x [<!ATTLIST uId id CDATA 'CXR1'>]>", "clear"),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused_before_it_is_read(attack, encoding):
    doctype, text = ATTACKS[attack]
    data = report(7, head=doctype, FINDINGS=text).encode(encoding)
    problem = parse_xml(data)
    assert isinstance(problem, Problem) and problem.code is Reason.MALFORMED_ROW
    assert "<!DOCTYPE>" in problem.message


def test_files_of_another_size_and_depth(tmp_path):
    deep = b"<eCitation>" + b"<a>" * 150_000 + b"</a>" * 0
    assert isinstance(parse_xml(deep), Problem)
    nested = b"<a>" * 140_000 + b"</a>" * 140_000
    assert len(nested) < MAX_BYTES and parse_xml(nested).tag == "a"
    large = report(7, FINDINGS="x" * MAX_BYTES)
    assert "bytes" in parse_xml(large.encode()).message
    write_openi(tmp_path, {7: large, 8: report(8, images=1)}, ["CXR8_IM-0008-1001"])
    rejection, _ = found_in(tmp_path)
    assert rejection.code is Reason.MALFORMED_ROW and "1,048,576" in rejection.message


def test_the_same_study_in_xml_and_in_a_table_is_one_group(tmp_path):
    """The image ids of XrayGLM are made of the numbers of OpenI's reports."""
    write_openi(tmp_path, {7: report(7, images=1)}, ["CXR7_IM-0007-1001", "7_1"])
    write_files(tmp_path, {"openi-en.json": '{"annotations": [{"image_id": "7_1", "caption": "Normal chest."}]}'})
    assert {record.groups for record in collect_records(found_in(tmp_path))} == {(study_key("7"),)}
