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
# What the Hub itself writes into the README of a new Space, and nobody misses.
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
    """The card to write where there is one already.

    - None, or an empty one: the fresh card. Front matter alone: the fresh text below it, with the keys that it lacks.
    - A card with our blocks: their new content. Text outside of them, and keys that are not owned, are taken from the
      fresh card where nobody has touched them since `base`; where somebody has, or that is not known, they stay.
    - A card without any of our blocks was never ours, or is not any more: owned keys, and needed ones that it lacks.

    Args:
        current: the card that is there.
        fresh: the card as our command would write it for the first time.
        base: the card as our command wrote it the last time, in so far as it is known; the blocks do not matter.
        owned: keys of the front matter that always are as in the fresh card.
        needed: keys without which what the repository holds cannot be opened.
        blocks: the content of the blocks by name; those of the fresh card unless given.

    Returns:
        the text, and lines that say what was left out.

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
        note = f"README.md has no blocks of medpairs and keeps its text; written: {said}"
        return set_front_matter(current, values), [note]
    if base is not None:
        base_keys = front_matter(base)
        untouched = {key for key in {*keys, *base_keys, *fresh_keys} - {*owned} if same(keys, base_keys, key)}
        values |= {key: fresh_keys.get(key) for key in {**keys, **fresh_keys} if key in untouched}
        if outside(body) == outside(split_card(base)[1]):
            body = fresh_body
            if {*keys, *base_keys} <= {*untouched, *owned} and is_written_by_us(current, keys):
                current = fresh  # with the order and the comments that a person may have given that one
    body, left_out = replace_blocks(body, contents(fresh_body) if blocks is None else blocks)
    notes = [f"README.md: not updated, since their markers were removed or changed: {', '.join(left_out)}"]
    return set_front_matter(with_body(current, body), values), notes if left_out else []


def read_card(path: Path) -> str | None:
    """The text of a card with its ends of lines; None where there is none. Raises ValueError where it is not UTF-8."""
    if not path.is_file():
        return None
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8; save it as UTF-8") from None


def is_blank(body: str) -> bool:
    """True where nobody has written anything below the front matter."""
    return not PLACEHOLDER.sub("", body).strip()


def is_written_by_us(card: str, keys: Mapping[str, Any]) -> bool:
    """True where the front matter is formatted as our commands do it: nobody has added a comment."""
    from huggingface_hub.utils import yaml_dump

    return (split_card(card)[0] or "").strip() == yaml_dump(dict(keys), sort_keys=False).strip()


def same(keys: Mapping[str, Any], others: Mapping[str, Any], key: str) -> bool:
    """True where a key has the same value in both, or is in neither."""
    return keys.get(key, MISSING) == others.get(key, MISSING)


# --- blocks ---


def block(name: str, content: str) -> str:
    """Text between our markers. A line of it that would be a marker itself is moved by a space."""
    content = re.sub(r"(?m)^(?=<!-- /?medpairs:)", " ", content.replace("\r\n", "\n").strip("\n"))
    content = f"\n{content}\n\n" if content else ""  # a table ends at an empty line
    return f"<!-- medpairs:{name} -->\n{content}<!-- /medpairs:{name} -->\n"


def spans(body: str) -> dict[str, tuple[int, int]]:
    """Where the content of each block is; of blocks that have one marker too few, or one too many, it is not known."""
    marks = [(mark[2], bool(mark[1]), mark.start(), mark.end()) for mark in MARKER.finditer(body)]
    names = [name for name, *_ in marks]
    found = {}
    for (name, closes, _, start), (next_name, next_closes, end, _) in itertools.pairwise(marks):
        if name == next_name and not closes and next_closes and names.count(name) == 2:
            found[name] = (min(start + 1, end), end)
    return found


def contents(body: str) -> dict[str, str]:
    """The content of each block by its name."""
    return {name: body[start:end] for name, (start, end) in spans(body).items()}


def replace_blocks(body: str, blocks: Mapping[str, str]) -> tuple[str, list[str]]:
    """The text with the new content of its blocks, and the names of those that it does not have."""
    there = spans(body)
    for name, (start, end) in sorted(there.items(), key=lambda item: -item[1][0]):
        if name in blocks:
            content = blocks[name].replace("\r\n", "\n").replace("\n", end_of_line(body))
            body = body[:start] + content + body[end:]
    return body, [name for name in blocks if name not in there]


def outside(body: str) -> str:
    """The text without the content of its blocks, with equal ends of lines."""
    return replace_blocks(body, dict.fromkeys(spans(body), ""))[0].replace("\r\n", "\n").strip()


def end_of_line(text: str) -> str:
    """The end of most lines of a text."""
    return "\r\n" if 2 * text.count("\r\n") > text.count("\n") else "\n"


# --- front matter ---


def split_card(text: str) -> tuple[str | None, str]:
    """The YAML of a card, None where it has none, and the text below."""
    found = FRONT_MATTER.match(text)
    return (found[2], text[found.end() :]) if found else (None, text)


def with_body(text: str, body: str) -> str:
    """A card with another text below its front matter."""
    found = FRONT_MATTER.match(text)
    return text[: found.end() if found else 0] + body


def front_matter(text: str) -> dict[str, Any]:
    """The keys and values of a card. Raises ValueError where its front matter is not YAML with keys."""
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
    """A card with these values at the top level of its front matter, those that are None removed.

    Only the lines of keys that change are written again; YAML that cannot be changed by lines is written anew as a
    whole, without its comments.
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
    """YAML with other lines for a key at its top level; at the end where it has none."""
    import yaml

    node = yaml.compose(lines, Loader=yaml.SafeLoader)
    for name, value in node.value if node is not None else ():
        if name.value == key:
            end = last_index(value)
            end = end if lines[:end].endswith("\n") else (lines.find("\n", end) + 1 or len(lines))
            return lines[: name.start_mark.index] + new + lines[end:]
    return lines + ("\n" if lines and not lines.endswith("\n") else "") + new


def last_index(node: Any) -> int:
    """Where a value ends. PyYAML lets a block end at the next token, and with it the comments between the two."""
    if isinstance(node.value, str) or node.flow_style or not node.value:
        return node.end_mark.index
    last = node.value[-1]
    return last_index(last[1] if isinstance(last, tuple) else last)


def reads_as(lines: str, wanted: Mapping[str, Any]) -> bool:
    """True where YAML has these values and no others."""
    import yaml

    try:
        return (yaml.safe_load(lines) or {}) == wanted
    except yaml.YAMLError:
        return False
