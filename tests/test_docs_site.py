"""The pages of docs/ become a site: every link and every anchor leads somewhere, and no page is missing."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.pages import DOCS, ROOT


@pytest.mark.skipif(find_spec("material") is None, reason="the extra `docs` is not installed")
def test_the_site_is_built_without_a_warning(run, tmp_path):
    """As `make docs` does."""
    environment = {"NO_MKDOCS_2_WARNING": "1"}
    words = ("--strict", "--quiet", "--site-dir", tmp_path / "site")
    run("python", "-m", "mkdocs", "build", *words, cwd=ROOT, env=environment)
    built = {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert built >= {path.stem for path in DOCS.glob("*.md")}
    assert "contact_sheet" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
