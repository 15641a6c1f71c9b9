"""The sources: one file each, which reads the source's own layout and yields raw records.

Adding a source is adding a file with a `SOURCE` and its line below.
"""

from __future__ import annotations

from hub_datasets.sources import knee_xray, medical_reports, pad_ufes_20, slake
from hub_datasets.sources.base import Source

SOURCES: tuple[Source, ...] = (
    knee_xray.SOURCE,
    pad_ufes_20.SOURCE,
    slake.SOURCE,
    medical_reports.SOURCE,
)
