"""Takes sentences that no image shows out of the accepted records, or rejects the records (`--ungrounded`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from hub_datasets.ingest.catalog import to_json
from hub_datasets.records import Problem, RawRecord, Reason, Rejection, decoded, encoded
from hub_datasets.splits.assignment import Decisions
from hub_datasets.texts.grounding.policy import ORIGINAL, refusal, settle_target
from hub_datasets.texts.validation import TextSettings, check_text

AT_ONCE = 1000  # records in memory
Counted = Counter[tuple[str, str, str]]  # source, language, kind


def settle_targets(decisions: Decisions, mode: str, texts: TextSettings) -> Counted:
    """Settles the texts and answers of all accepted records. It comes before records are grouped.

    Args:
        mode: `strip` or `reject`; with `mark` and `keep` all records stay as they are. In every mode, texts that a
            source has rewritten since they were read, as `--pad_text clinical` does, are checked again.

    Returns:
        how many records lost a sentence or were rejected, by source, language and kind.

    Raises:
        BuildError: no record is left.
    """
    rewritten = [number for number, stage in enumerate(decisions.stages) if stage.source.choices]
    counted: Counted = Counter()
    strict = mode in ("strip", "reject")
    stages = list(range(len(decisions.stages))) if strict else rewritten
    for number, stage, record, images in accepted_records(decisions, stages):
        kept, found = settled_record(record, images, mode, texts)
        counted.update((record.source, record.language, kind) for kind in found)
        if isinstance(kept, Problem):
            reject(decisions, number, stage, Rejection(record.source, record.item, kept.code, kept.message))
        elif kept is not record:
            decisions.database.execute("UPDATE accepted SET record = ? WHERE id = ?", (encoded(kept), number))
    decisions.refuse_empty()
    return counted


def settled_record(
    record: RawRecord, images: int, mode: str, texts: TextSettings
) -> tuple[RawRecord | Problem, tuple[str, ...]]:
    """Returns the record as it is published (unchanged: the same object) or why it is not, and what was found."""
    part = "answer" if record.text is None else "text"
    said = getattr(record, part)
    target = settle_target(said, record.language, images, mode)
    if target.text == said:
        return check_text(record, texts.min_chars, texts.max_chars) or record, ()
    stripped = replace(record, **{part: target.text}, metadata=record.metadata | {ORIGINAL: said})
    if not target.text or check_text(stripped, texts.min_chars, texts.max_chars):
        return Problem(Reason.UNGROUNDED, refusal(target.found, mode)), target.found
    return stripped, target.found


def accepted_records(decisions: Decisions, stages: list[int]) -> Iterator[tuple[int, int, RawRecord, int]]:
    """Yields (number, stage, record, images of its conversation), a few at a time, because the table changes."""
    database = decisions.database
    database.executescript(
        """CREATE TEMP TABLE conversations AS SELECT stage, conversation, count(*) AS images FROM accepted
            WHERE conversation IS NOT NULL GROUP BY stage, conversation;
        CREATE INDEX temp.by_conversation ON conversations (stage, conversation);"""
    )
    query = """SELECT accepted.id, stage, record, coalesce(images, 1) FROM accepted
        LEFT JOIN conversations USING (stage, conversation)
        WHERE accepted.id > ? AND stage IN (SELECT value FROM json_each(?)) ORDER BY accepted.id LIMIT ?"""
    last = -1
    while rows := database.execute(query, (last, to_json(stages), AT_ONCE)).fetchall():
        for number, stage, content, images in rows:
            record = decoded(content)
            yield number, stage, record, images if record.text is not None else 1
        last = rows[-1][0]
    database.execute("DROP TABLE conversations")


def reject(decisions: Decisions, number: int, stage: int, rejection: Rejection) -> None:
    """Moves a record from the accepted ones to the rejections.

    Its keys go to another record of its picture, if there is one: the picture's patients must stay in one split.
    """
    database = decisions.database
    query = "SELECT id FROM accepted WHERE pixels = (SELECT pixels FROM accepted WHERE id = ?) AND id != ? LIMIT 1"
    other = database.execute(query, (number, number)).fetchone()
    if other:
        database.execute("UPDATE record_keys SET owner = ? WHERE owner = ?", (*other, number))
    else:
        database.execute("DELETE FROM record_keys WHERE owner = ?", (number,))
    database.execute("DELETE FROM accepted WHERE id = ?", (number,))
    decisions.reject(number, stage, rejection)
