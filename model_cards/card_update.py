"""Updates a card without losing what a person wrote in it.

The commands own the blocks between two markers, each marker on its own line, and some keys of the front matter:

    <!-- medpairs:results -->
    what the commands measured; each of them rewrites it
    <!-- /medpairs:results -->

Everything else belongs to the people who edit the card and stays byte for byte: text outside the blocks, and other keys
with their order and comments. A block whose markers were removed is not added again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

MARKER = re.compile(r"^<!-- (/?)medpairs:([a-z_]+) -->[ \t]*\r?$", re.MULTILINE)
FRONT_MATTER = re.compile(r"\A(\ufeff?\s*---[ \t]*\r?\n)(.*?)^(---[ \t]*(?:\r?\n|\Z))", re.DOTALL | re.MULTILINE)
# The text that the Hub writes to the README of a new Space; it counts as an empty card.
PLACEHOLDER = re.compile(r"Check out the configuration reference at https://huggingface\.co/docs/hub/spaces-config\S*")
MISSING = object()


def merge_card(
    current: str | None,
    fresh: str,
    *,
    base: str | None = None,
    owned: Collection[str] = (),
    needed: Collection[str] = (),
    blocks: Mapping[str, str] | None = None,
) -> tuple[str, list[str]]:
    """Merges a new card into an existing one.

    - No card, or an empty one: the fresh card. A card with front matter alone: the missing keys and the fresh text are
      added.
    - A card with our blocks: the content of the blocks is replaced. Text outside of them and keys that are not owned
      are replaced only if nobody has changed them since `base`; if somebody has, or `base` is unknown, they stay.
    - A card without any of our blocks was not written by us, or was taken over by its user: only the owned keys, and
      those needed keys that are missing, are written.

    Args:
        current: the existing card.
        fresh: the card as our command would write it for the first time.
        base: the card as our command wrote it the last time, if known; its blocks do not matter.
        owned: keys of the front matter that are always taken from the fresh card.
        needed: keys without which the content of the repository cannot be loaded.
        blocks: the content of the blocks by name (default: those of the fresh card).

    Returns:
        the text of the merged card, and notes about parts that were not updated.

    Raises:
        ValueError: the front matter of the current card is not YAML with keys.
    """
    if current is None or not current.strip("\ufeff \t\r\n"):
        return fresh, []
    body, fresh_body = split_card(current)[1], split_card(fresh)[1]
    keys, fresh_keys = front_matter(current), front_matter(fresh)
    values = {key: fresh_keys.get(key) for key in owned}
    if is_blank(body):
        values |= {key: value for key, value in fresh_keys.items() if key not in keys}
        return set_front_matter(with_body(current, fresh_body), values), []
    if not MARKER.search(body):
        values |= {key: fresh_keys[key] for key in needed if key in fresh_keys and key not in keys}
        said = ", ".join(sorted(key for key, value in values.items() if keys.get(key) != value)) or "nothing"
        note = f"README.md contains no medpairs blocks and keeps its text; updated keys: {said}"
        return set_front_matter(current, values), [note]
    if base is not None:
        base_keys = front_matter(base)
        untouched = {key for key in {*keys, *base_keys, *fresh_keys} - {*owned} if has_same_value(keys, base_keys, key)}
        values |= {key: fresh_keys.get(key) for key in {**keys, **fresh_keys} if key in untouched}
        if outside(body) == outside(split_card(base)[1]):
            body = fresh_body
            if {*keys, *base_keys} <= {*untouched, *owned} and is_written_by_us(current, keys):
                current = fresh  # including the order and the comments of its keys
    body, left_out = replace_blocks(body, contents(fresh_body) if blocks is None else blocks)
    missing = ", ".join(left_out)
    notes = [f"README.md: blocks not updated, because their markers were removed or changed: {missing}"]
    return set_front_matter(with_body(current, body), values), notes if left_out else []


def read_card(path: Path) -> str | None:
    """Returns the text of a card with its line endings, None if there is none. Raises ValueError if it is not UTF-8."""
    if not path.is_file():
        return None
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8; save it as UTF-8") from None


def is_blank(body: str) -> bool:
    """Returns whether there is no text below the front matter, except for the placeholder of the Hub."""
    return not PLACEHOLDER.sub("", body).strip()


def is_written_by_us(card: str, keys: Mapping[str, Any]) -> bool:
    """Returns whether the front matter is formatted like that of our commands, without comments of a person."""
    from huggingface_hub.utils import yaml_dump

    return (split_card(card)[0] or "").strip() == yaml_dump(dict(keys), sort_keys=False).strip()


def has_same_value(keys: Mapping[str, Any], others: Mapping[str, Any], key: str) -> bool:
    """Returns whether a key has the same value in both, or is missing in both."""
    return keys.get(key, MISSING) == others.get(key, MISSING)


# --- blocks ---


def block(name: str, content: str) -> str:
    """Puts text between our markers. A line of the text that looks like a marker is indented, so that it is none."""
    content = re.sub(r"(?m)^(?=<!-- /?medpairs:)", " ", content.replace("\r\n", "\n").strip("\n"))
    content = f"\n{content}\n\n" if content else ""  # without an empty line, the marker would be part of a table
    return f"<!-- medpairs:{name} -->\n{content}<!-- /medpairs:{name} -->\n"


def find_blocks(body: str) -> dict[str, tuple[int, int]]:
    """Returns the start and end of the content of each block, without blocks that do not have exactly two markers."""
    marks = [(mark[2], bool(mark[1]), mark.start(), mark.end()) for mark in MARKER.finditer(body)]
    names = [name for name, *_ in marks]
    found = {}
    for (name, closes, _, start), (next_name, next_closes, end, _) in itertools.pairwise(marks):
        if name == next_name and not closes and next_closes and names.count(name) == 2:
            found[name] = (min(start + 1, end), end)
    return found


def contents(body: str) -> dict[str, str]:
    """Returns the content of each block by name."""
    return {name: body[start:end] for name, (start, end) in find_blocks(body).items()}


def replace_blocks(body: str, blocks: Mapping[str, str]) -> tuple[str, list[str]]:
    """Returns the text with new contents of its blocks, and the names of the blocks that it does not contain."""
    there = find_blocks(body)
    # From the last block to the first one, so that the positions of the remaining blocks stay valid.
    for name, (start, end) in sorted(there.items(), key=lambda item: -item[1][0]):
        if name in blocks:
            content = blocks[name].replace("\r\n", "\n").replace("\n", end_of_line(body))
            body = body[:start] + content + body[end:]
    return body, [name for name in blocks if name not in there]


def outside(body: str) -> str:
    """Returns the text without the content of its blocks, with uniform line endings."""
    return replace_blocks(body, dict.fromkeys(find_blocks(body), ""))[0].replace("\r\n", "\n").strip()


def end_of_line(text: str) -> str:
    """Returns the line ending of most lines of a text."""
    return "\r\n" if 2 * text.count("\r\n") > text.count("\n") else "\n"


# --- front matter ---


def split_card(text: str) -> tuple[str | None, str]:
    """Splits a card into its YAML, None if it has none, and the text below."""
    found = FRONT_MATTER.match(text)
    return (found[2], text[found.end() :]) if found else (None, text)


def with_body(text: str, body: str) -> str:
    """Replaces the text below the front matter of a card."""
    found = FRONT_MATTER.match(text)
    return text[: found.end() if found else 0] + body


def front_matter(text: str) -> dict[str, Any]:
    """Parses the front matter of a card. Raises ValueError if it is not YAML with keys."""
    import yaml

    try:
        found = yaml.safe_load(split_card(text)[0] or "")
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"README.md: its front matter is not YAML ({reason}); correct or remove it") from None
    if found is not None and not isinstance(found, dict):
        raise ValueError("README.md: its front matter has no keys and values; correct or remove it")
    return found or {}


def set_front_matter(text: str, values: Mapping[str, Any]) -> str:
    """Sets values at the top level of a card's front matter; None removes a key.

    Only the lines of changed keys are rewritten. If that does not give the expected values, the complete YAML is
    rewritten, which loses its comments.
    """
    from huggingface_hub.utils import yaml_dump

    wanted = front_matter(text)
    changed = {key: value for key, value in values.items() if wanted.get(key) != value}
    if not changed:
        return text
    wanted |= changed
    wanted = {key: value for key, value in wanted.items() if key not in changed or value is not None}
    if (found := FRONT_MATTER.match(text)) is None:
        return f"---\n{yaml_dump(wanted, sort_keys=False)}---\n\n{text}"
    end, lines = end_of_line(found[0]), found[2]
    for key, value in changed.items():
        new = "" if value is None else yaml_dump({key: value}, sort_keys=False, line_break=end)
        lines = set_key(lines, key, new)
    if not reads_as(lines, wanted):
        lines = yaml_dump(wanted, sort_keys=False, line_break=end)
    return found[1] + lines + found[3] + text[found.end() :]


def set_key(lines: str, key: str, new: str) -> str:
    """Replaces the lines of a key at the top level of YAML, or appends them if the key is missing."""
    import yaml

    node = yaml.compose(lines, Loader=yaml.SafeLoader)
    for name, value in node.value if node is not None else ():
        if name.value == key:
            end = last_index(value)
            end = end if lines[:end].endswith("\n") else (lines.find("\n", end) + 1 or len(lines))
            return lines[: name.start_mark.index] + new + lines[end:]
    return lines + ("\n" if lines and not lines.endswith("\n") else "") + new


def last_index(node: Any) -> int:
    """Returns the end of a value; PyYAML would also count the comments up to the next token."""
    if isinstance(node.value, str) or node.flow_style or not node.value:
        return node.end_mark.index
    last = node.value[-1]
    return last_index(last[1] if isinstance(last, tuple) else last)


def reads_as(lines: str, wanted: Mapping[str, Any]) -> bool:
    """Returns whether YAML has exactly these values."""
    import yaml

    try:
        return (yaml.safe_load(lines) or {}) == wanted
    except yaml.YAMLError:
        return False
