"""Checks which pairs the card shows: one of each category, the same in every build, and none that must stay private."""

from __future__ import annotations

from hub_datasets.output.card.samples import Samples
from hub_datasets.records import Flag
from tests.hub_datasets.hand_made import content_of, question, report
from tests.hub_datasets.output.test_rows import write


def samples_of(tmp_path, records, **options):
    chosen = Samples()
    write(tmp_path, records, samples=chosen, **options)
    return chosen.chosen()


def test_one_of_each_category_and_more_where_there_are_few(tmp_path):
    several = [question(n, n) for n in range(40)]
    for number, record in enumerate(several):
        record.category = f"place {number % 9}"
    few = [report(n, category="chest" if n % 3 else "knee") for n in range(30)]
    found = samples_of(tmp_path, several + few, stage={"synthetic": True})
    by_source = [(sample.source, sample.category) for sample in found]
    assert sorted(by_source[:9]) == [("slake", f"place {n}") for n in range(9)]
    assert sorted(by_source[9:]) == [("medical_reports", "chest")] * 3 + [("medical_reports", "knee")] * 3
    assert len({sample.data for sample in found}) == 15
    assert found[0].text.startswith("CT image, lungs. Question") and found[-1].text.startswith("Report ")


def test_the_same_in_every_build(tmp_path):
    records = [report(n, f"images/{n % 12}.png", text=f"Report {n}.") for n in range(36)]
    found = [
        {(sample.data, sample.text) for sample in samples_of(tmp_path, order, stage={"synthetic": True})}
        for order in (records, records[::-1])
    ]
    assert found[0] == found[1] and len(found[0]) == 6


def test_what_must_not_be_shared_is_left_out(tmp_path):
    records = [question(n, n) for n in range(20)] + [report(n) for n in range(9)]
    assert {sample.source for sample in samples_of(tmp_path, records)} == {"slake"}
    hidden = {f"imgs/{n}/source.jpg": {"flags": [Flag("burned_in_text", "")]} for n in range(18)}
    records[18].answer = "Call 13812345678"
    shown = samples_of(tmp_path, records, images=hidden)
    assert [sample.data for sample in shown] == [content_of("imgs/19/source.jpg")]
