"""Lists the sources. Each has a module, which reads the source's own layout and yields raw records.

To add a source, add a module with a `SOURCE`, and a line below.
"""

from __future__ import annotations

from hub_datasets.sources import knee_xray, labeled_images, medical_reports, pad_ufes_20, slake
from hub_datasets.sources.base import Source

SOURCES: tuple[Source, ...] = (
    knee_xray.SOURCE,
    pad_ufes_20.SOURCE,
    slake.SOURCE,
    medical_reports.SOURCE,
    labeled_images.SOURCE,
)
