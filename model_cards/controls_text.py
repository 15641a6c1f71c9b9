"""Lays out the controls of a result as text for a terminal, in the tables of Markdown."""

from __future__ import annotations

from model_cards.controls import needs_controls, notes, result_tables, verdicts
from model_cards.rendering import aligned_table
from model_cards.results import EvaluationResult
from model_cards.tables.reliance_tables import reliance_table, reliance_words
from model_cards.tables.retrieval_tables import retrieval_parts_table


def text_of_controls(result: EvaluationResult) -> str:
    """Returns the table with the controls, what they are, what follows from them, image reliance and parts of the rows.

    A result without scores has "". Raises ValueError if a control is missing.
    """
    if not needs_controls(result.task, result.metrics):
        return ""
    parts = [*map(aligned_table, result_tables(result)), "".join(f"- {note}\n" for note in notes(result))]
    parts += ["".join(f"{verdict}\n" for verdict in verdicts(result)), f"{reliance_words(result.reliance)}\n"]
    tables = (reliance_table(result.reliance), retrieval_parts_table(result.parts))
    parts += [aligned_table(table) for table in tables if table]
    return "".join(f"\n{part}" for part in parts if part.strip())
