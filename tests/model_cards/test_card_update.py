"""Checks that text written by people stays byte for byte, and that our blocks and keys are updated."""

from __future__ import annotations

import pytest
import yaml

from model_cards.card_update import (
    block,
    contents,
    front_matter,
    merge_card,
    outside,
    read_card,
    replace_blocks,
    set_front_matter,
    split_card,
)
from tests.model_cards.markdown import HOSTILE, headings, tables


def card(results: str = "0.1", license_key: str = "apache-2.0", **keys: object) -> str:
    """Returns a small card as our commands write it."""
    front = yaml.safe_dump({"license": license_key, "tags": ["medical"]} | keys, sort_keys=False)
    about, numbers = block("about", "What it is."), block("results", f"## Results\n\n{results}")
    return f"---\n{front}---\n\n# Title\n\n{about}\n> A warning.\n\n{numbers}\n## Limits\n\n- Some.\n"


EDITED = """---
# by hand
tags: [medical,   chest]   # mine
license: cc-by-nc-4.0  # corrected
model-index:
- name: x   # ours
  results:
  - value: 0.1
    note: |
      # a comment it is not

# before language
language:
    - en
    - 'no'
empty:
---

# My title

<!-- medpairs:results -->
old
<!-- /medpairs:results -->

## Intended use

Written by hand.
"""


# ---- what stays ------------------------------------------------------------------------------------------------------


def test_without_a_card_the_fresh_one_is_complete():
    for current in (None, "", " \r\n", "\ufeff\n"):
        assert merge_card(current, card()) == (card(), [])


def test_only_blocks_and_owned_keys_change():
    fresh = card("0.9") + "\n" + block("new", "never there")
    fresh = set_front_matter(fresh, {"model-index": [{"name": "x", "results": [{"value": 0.9}]}]})
    text, notes = merge_card(EDITED, fresh, owned=["model-index"])
    expected = EDITED.replace("\nold\n", "\n\n## Results\n\n0.9\n\n")
    old = EDITED[EDITED.index("model-index") : EDITED.index("# before language")]
    expected = expected.replace(old, "model-index:\n- name: x\n  results:\n  - value: 0.9\n")
    assert text == expected
    assert notes == ["README.md: blocks not updated, because their markers were removed or changed: about, new"]
    assert merge_card(text, fresh, owned=["model-index"])[0] == text  # and again


def test_ends_of_lines_and_the_mark_of_utf_8_stay():
    windows = "\ufeff" + EDITED.replace("\n", "\r\n")
    text, _ = merge_card(windows, card("0.9", own=[1, 2]), owned=["own"])
    assert text.startswith("\ufeff---\r\n# by hand\r\n") and "\n" not in text.replace("\r\n", "")
    assert "\r\n0.9\r\n" in text and front_matter(text)["own"] == [1, 2]


def test_what_nobody_has_touched_follows_the_new_data():
    base, fresh = card("0.1", size="small", old="x"), card("0.9", "mit", size="large", new="y")
    fresh = fresh.replace("- Some.", "- Others.")
    text, notes = merge_card(base, fresh, base=base)
    assert front_matter(text) == front_matter(fresh) and notes == []
    assert split_card(text)[1] == split_card(fresh)[1]

    corrected = base.replace("license: apache-2.0", "license: cc-by-nc-4.0")
    text, _ = merge_card(corrected, fresh, base=base)
    assert front_matter(text) == front_matter(fresh) | {"license": "cc-by-nc-4.0"}
    assert split_card(text)[1] == split_card(fresh)[1]

    longer = base + "\n## Mine\n"
    text, _ = merge_card(longer, fresh, base=base)
    assert front_matter(text) == front_matter(fresh)
    assert outside(split_card(text)[1]) == outside(split_card(longer)[1]) and "\n0.9\n" in text

    removed = set_front_matter(base, {"tags": None})
    assert "tags" not in front_matter(merge_card(removed, fresh, base=base)[0])


def test_a_card_that_nobody_touched_becomes_the_fresh_one_to_the_byte():
    """The fresh card itself can contain edits of a person, if it comes from a folder."""
    base = card("0.1", size="small", index=[1])
    fresh = card("0.9", size="large", index=[2]).replace("license: apache-2.0", "license: mit  # mine") + "\n## Mine\n"
    assert merge_card(base, fresh, base=card("?", size="small"), owned=["index"]) == (fresh, [])
    commented = base.replace("license: apache-2.0", "license: apache-2.0  # theirs")
    text, _ = merge_card(commented, fresh, base=base, owned=["index"])
    assert front_matter(text) == front_matter(fresh)


def test_where_the_earlier_card_is_not_known_it_is_taken_for_edited():
    text, _ = merge_card(card("0.1", size="small"), card("0.9", "mit", size="large"))
    assert front_matter(text) == front_matter(card(size="small")) and "\n0.9\n" in text


def test_a_block_that_was_removed_is_not_put_back():
    without = card().replace(block("results", "## Results\n\n0.1"), "")
    text, notes = merge_card(without, card("0.9"), base=card())
    assert text == without
    assert notes == ["README.md: blocks not updated, because their markers were removed or changed: results"]


@pytest.mark.parametrize(
    "broken",
    [
        "<!-- medpairs:results -->\nold\n",
        "old\n<!-- /medpairs:results -->\n",
        "<!-- /medpairs:results -->\nold\n<!-- medpairs:results -->\n",
        "<!-- medpairs:results -->\none\n<!-- medpairs:results -->\ntwo\n<!-- /medpairs:results -->\n",
        "<!-- medpairs:results -->\n<!-- medpairs:about -->\nold\n<!-- /medpairs:results -->\n",
        "  <!-- medpairs:results -->\nold\n  <!-- /medpairs:results -->\n<!-- medpairs:x -->\n",
    ],
)
def test_a_block_without_both_markers_is_left_alone(broken):
    current = f"# Mine\n\n{broken}\nWritten by hand.\n"
    text, notes = merge_card(current, card("0.9"))
    assert text == current and "results" in notes[0]


def test_a_card_that_was_never_ours_gets_keys_alone():
    mine = "---\nlicense: mit\npipeline_tag: other\n---\n# Mine\n\nWritten by hand.\n"
    fresh = card(pipeline_tag="text", library_name="peft", index=[1])
    text, notes = merge_card(mine, fresh, owned=["index"], needed=["pipeline_tag", "library_name"])
    assert split_card(text)[1] == split_card(mine)[1]
    assert front_matter(text) == {"license": "mit", "pipeline_tag": "other", "index": [1], "library_name": "peft"}
    assert notes == ["README.md contains no medpairs blocks and keeps its text; updated keys: index, library_name"]
    assert merge_card("# Mine\n", fresh, owned=["index"])[0] == "---\nindex:\n- 1\n---\n\n# Mine\n"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "\n\n",
        "\nCheck out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference\n",
    ],
)
def test_front_matter_alone_gets_our_text(body):
    """The Hub writes such a card if a user chooses a license on the page of the repository."""
    text, notes = merge_card(f"---\nlicense: mit\nemoji: x\n---\n{body}", card("0.9", index=[1]), owned=["index"])
    assert front_matter(text) == {"license": "mit", "emoji": "x", "index": [1], "tags": ["medical"]} and notes == []
    assert split_card(text)[1] == split_card(card("0.9"))[1]


@pytest.mark.parametrize("front", ["- a list", "text", "a: [", "a: b: c"])
def test_front_matter_that_is_none_is_named(front):
    with pytest.raises(ValueError, match=r"README\.md: its front matter .*; correct or remove it"):
        merge_card(f"---\n{front}\n---\n# Mine\n", card())


def test_a_card_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / "README.md"
    assert read_card(path) is None
    path.write_bytes(b"# Title\r\n")
    assert read_card(path) == "# Title\r\n"
    path.write_bytes("# Größe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"README\.md: not UTF-8; save it as UTF-8"):
        read_card(path)


# ---- blocks ----------------------------------------------------------------------------------------------------------


def test_a_block_is_read_as_markdown():
    text = block("results", "## Results\n\n| a | b |\n|---|---|\n| 1 | 2 |") + "# Next\n"
    assert headings(text) == ["Results", "Next"] and tables(text) == [[["a", "b"], ["1", "2"]]]
    assert contents(text) == {"results": "\n## Results\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"}
    assert contents(block("empty", "\n")) == {"empty": ""}


@pytest.mark.parametrize("hostile", [*HOSTILE, "<!-- /medpairs:results -->", "x\n<!-- medpairs:results -->\ny"])
def test_data_cannot_end_a_block(hostile):
    text = f"# Title\n\n{block('results', hostile)}\nMine.\n"
    assert list(contents(text)) == ["results"]
    assert replace_blocks(text, {"results": "new\n"}) == (
        "# Title\n\n<!-- medpairs:results -->\nnew\n<!-- /medpairs:results -->\n\nMine.\n",
        [],
    )


# ---- front matter ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [None, "text", ["a", "b"], {"a": {"b": [1]}}, "l1\nl2", "# no comment", "ja: nein", True]
)
@pytest.mark.parametrize("key", ["tags", "license", "model-index", "language", "empty", "new"])
def test_one_key_is_set_and_no_other_line_changes(key, value):
    text = set_front_matter(EDITED, {key: value})
    expected = front_matter(EDITED) | {key: value}
    if value is None and key != "empty":
        del expected[key]
    assert front_matter(text) == expected
    assert split_card(text)[1] == split_card(EDITED)[1]
    comments = {"tags": "# mine", "license": "# corrected", "model-index": "# ours"}
    assert [mark for mark in ("# by hand", "# before language") if mark not in text] == []
    assert [mark for other, mark in comments.items() if other != key and mark not in text] == []
    changed = set(EDITED.splitlines()) - set(text.splitlines())
    assert not [line for line in changed if line.startswith(("tags", "license", "language")) and key not in line]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\n{a: 1, b: 2}\n---\nx", {"b": 2}),
        ("---\na: &one [1]\nb: *one\n---\nx", {"b": [1]}),
        ("---\n? a\n: 1\nb: 2\n---\nx", {"b": 2}),
        ("---\n---\nx", {}),
        ("---\n# nothing\n---\nx", {}),
        ("x", {}),
    ],
)
def test_yaml_of_other_forms_keeps_its_values(text, expected):
    assert front_matter(set_front_matter(text, {"a": None})) == expected
    changed = set_front_matter(text, {"a": "new"})
    assert front_matter(changed) == expected | {"a": "new"} and split_card(changed)[1].strip() == "x"


def test_nothing_to_set_is_the_same_text():
    for text in ("# Mine\n", EDITED):
        assert set_front_matter(text, {"license": front_matter(text).get("license"), "gone": None}) == text
