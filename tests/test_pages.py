"""The README and the pages of docs/ are true: their commands and their Python run as printed, their links lead on."""

from __future__ import annotations

import ast
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.commands import NAMES, problem, targets
from tests.pages import (
    CONTRIBUTING,
    DOCS,
    FENCE,
    LANGUAGES,
    README,
    REASONS,
    ROOT,
    WIDTH,
    Block,
    anchor,
    anchors,
    blocks,
    failure,
    links,
    pages,
)
from tests.readme import PICTURE, small_picture

RENEW = "RENEW_MESSAGES"
ROOMS = ("hub_datasets", "trainers", "evaluation", "model_cards")  # whose messages the pages may quote
PAGES = pages()
ALL = [*PAGES, CONTRIBUTING]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def stocked_hub(tmp_path_factory) -> dict[str, str]:
    """The environment that `make hub` prints."""
    root = tmp_path_factory.mktemp("stocked-hub")
    command = [sys.executable, "-m", "tests.stocked_hub", "--root", str(root), "--port", "0"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    printed = []
    for line in server.stdout:
        printed.append(line)
        if "Ctrl-C" in line:
            break
    environment = dict(re.findall(r"^export (\w+)=(.*)$", "".join(printed), re.MULTILINE))
    assert len(environment) == 4, "".join(printed)
    yield environment | {"PYTHONPATH": None}
    server.terminate()
    server.wait(timeout=30)


class Reader:
    """Reads the pages as a person at a terminal does who types every block."""

    def __init__(self, run, folder: Path, environment: dict[str, str | None]) -> None:
        self.run, self.folder, self.environment = run, folder, environment
        self.done: set[str] = set()

    def read(self, page: Path) -> str:
        """Runs the blocks of a page; returns its text with the messages that its failing commands gave."""
        return FENCE.sub(self.follow, page.read_text(encoding="utf-8"))

    def follow(self, match: re.Match[str]) -> str:
        block = Block(README, match["language"].strip(), textwrap.dedent(match["text"]))
        if block.text.startswith("# Not run"):
            return match[0]
        if block.language == "console":
            (command,) = block.commands()
            message = textwrap.fill(self.refused(command), WIDTH, break_long_words=False, break_on_hyphens=False)
            return f"```console\n$ {command}\n{message}\n```"
        if block.language == "yaml":
            name = block.text.partition("\n")[0].removeprefix("# ")
            (self.folder / name).write_text(block.text, encoding="utf-8")
        steps = {"bash": block.commands(), "python": [block.text]}.get(block.language, [])
        for step in steps:
            if step not in self.done and not step.startswith("make "):  # CI runs those by themselves
                self.command(*(["python", "-c", step] if block.language == "python" else words_of(step)))
                self.done.add(step)
        return match[0]

    def refused(self, command: str) -> str:
        """What a command says that cannot do what is asked."""
        process = self.command(*words_of(command), check=False)
        assert process.returncode == 2, f"{command}\n{process.stdout}\n{process.stderr}"
        assert "Traceback" not in process.stderr, process.stderr
        return failure(process.stderr)

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        return self.run(*words, cwd=self.folder, env=self.environment, timeout=560, check=check)


def words_of(command: str) -> list[str]:
    """The words to start a command with: `medpairs X` as in a clone, and `NAME=value` before it by `env`."""
    words = shlex.split(command)
    start = next(number for number, word in enumerate(words) if not re.fullmatch(r"[A-Z_]+=\S*", word))
    variables, words = words[:start], words[start:]
    if words[0] == "medpairs":
        words = [sys.executable, "medpairs.py", *words[1:]]
    return ["env", *variables, *words] if variables else words


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_command_and_every_line_of_python_runs_as_printed(run, stocked_hub, clone):
    """All in one reading: a later page reads what an earlier one wrote or pushed."""
    reader = Reader(run, clone, stocked_hub)
    renewed = {README: reader.read(README)}
    picture = small_picture(clone / "data/processed")
    renewed |= {page: reader.read(page) for page in PAGES if page != README}
    assert len(reader.done) > 20
    for path in ("data/processed/report.json", "checkpoints/encoder_finetuned/README.md", "results/leaderboard.md"):
        assert (clone / path).exists(), path
    assert difference(picture, PICTURE.read_bytes()) < 4, "python -m tests.readme data/processed makes the picture anew"
    if os.environ.get(RENEW):
        for page, text in renewed.items():
            if page.read_text(encoding="utf-8") != text:
                page.write_text(text, encoding="utf-8")
    for page, text in renewed.items():
        assert page.read_text(encoding="utf-8") == text, f"{name_of(page)} has other messages; {RENEW}=1 writes them"


def difference(one: bytes, other: bytes) -> float:
    """The mean difference of two pictures, of 255; fonts and decoders differ a little from machine to machine."""
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in (one, other)]
    assert images[0].size == images[1].size
    return max(ImageStat.Stat(ImageChops.difference(*images)).mean)


def test_another_picture_is_seen():
    other = io.BytesIO()
    with Image.open(PICTURE) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(other, "JPEG")
    assert difference(PICTURE.read_bytes(), PICTURE.read_bytes()) == 0
    assert difference(PICTURE.read_bytes(), other.getvalue()) > 10


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_not_run_has_a_reason_and_flags_that_exist(page):
    for block in blocks(page):
        assert block.language in LANGUAGES, f"a block in {block.language!r}: {block.text}"
        if not block.reason:
            continue
        assert block.reason in REASONS and block.language in ("bash", "python"), block
        if block.language == "python":
            compile(block.text, name_of(page), "exec")
            continue
        assert [found for command in block.commands() if (found := problem(command))] == []


def test_a_flag_that_does_not_exist_is_seen():
    """The check above can fail: for each kind of command, one that is right and one that is not."""
    right = (
        "medpairs build --slake_dir s3://bucket/slake --output_dir data/x",
        "python trainers/run_decoder.py --config gpu_16gb --load_in_4bit",
        "accelerate launch --config_file trainers/accelerate_configs/ddp.yaml trainers/run_encoder.py --config 8_gpus",
        "pip install --constraint constraints.txt --editable '.[dicom,ocr]'",
        "OMP_NUM_THREADS=1 medpairs leaderboard",
        "make demo",
    )
    wrong = (
        "medpairs build --no_such_dir x",
        "medpairs no-such-command",
        "python trainers/run_decoder.py --batch_size 4",
        "python trainers/no_such_script.py",
        "accelerate launch --config_file trainers/no_such.yaml trainers/run_encoder.py",
        "accelerate launch --config_file trainers/accelerate_configs/ddp.yaml trainers/run_encoder.py --no_such 8",
        "pip install '.[no_such_extra]'",
        "pip install --constraint no_such.txt medpairs",
        "pip install torch==1.0",
        "make no-such-target",
        "no-such-program --flag",
    )
    assert [problem(command) for command in right] == [""] * len(right)
    assert [command for command in wrong if not problem(command)] == []


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_its_links_lead_to_files_and_headings_that_exist(page):
    for link in links(page):
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        assert not place or place in anchors(target), f"{name_of(page)}: {link}; there are {sorted(anchors(target))}"


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_the_flags_that_its_sentences_name_exist(page):
    """docs/flags.md has all of them, see test_flags_page.py."""
    known = set(re.findall(r"--[\w-]+", (DOCS / "flags.md").read_text(encoding="utf-8")))
    sentences = FENCE.sub("", page.read_text(encoding="utf-8"))
    named = {
        flag for code in re.findall(r"`([^`\n]+)`", sentences) for flag in re.findall(r"(?<![\w-])--[a-z][\w-]+", code)
    }
    assert named - known - {"--version", "--help", "--eyes_dir", "--install"} == set()


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_the_files_of_the_project_that_it_names_exist(page):
    text = page.read_text(encoding="utf-8")
    added = re.findall(r"The (?:file is|metric,|page,) `([\w/]+)", text)  # by the examples of CONTRIBUTING.md
    named = re.findall(r"`((?:hub_datasets|modeling|trainers|evaluation|model_cards|tests)/[\w./-]+)`", text)
    assert [path for path in named if not (ROOT / path).exists() and path.partition(".")[0] not in added] == []


def test_anchors_are_those_of_github():
    assert anchor("Without an account or a GPU") == "without-an-account-or-a-gpu"
    assert anchor("What `--dry_run` shows: memory") == "what-dry_run-shows-memory"


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_the_make_targets_and_commands_that_it_names_exist(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([\w-]+)", text)) | set(re.findall(r"^make ([\w-]+)", text, re.MULTILINE))
    assert named <= targets()
    typed = [command for block in blocks(page) for command in block.commands() if block.language in ("bash", "console")]
    commands = set(
        re.findall(r"(?:`|^)medpairs (\w[\w-]*)", "\n".join([*re.findall(r"`[^`\n]+`", text), *typed]), re.MULTILINE)
    )
    assert commands <= {*NAMES, "COMMAND"}


def test_the_messages_that_troubleshooting_explains_are_those_of_the_product():
    """The first column of its tables quotes parts of messages."""
    rows = re.findall(r"^\| `([^`]+)` \|", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 20
    said = "\n".join(text for folder in ROOMS for path in (ROOT / folder).rglob("*.py") for text in texts_of(path))
    assert [row for row in rows if row not in said] == []


def texts_of(path: Path) -> list[str]:
    """The texts in a file's code, with `{}` for what is filled in."""

    def text(node: ast.AST) -> str:
        if isinstance(node, ast.JoinedStr):
            return "".join(text(part) for part in node.values)
        return str(node.value) if isinstance(node, ast.Constant) else "{}"

    return [
        text(node)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.JoinedStr, ast.Constant))
    ]


def test_every_page_is_in_the_navigation():
    assert {page.name for page in PAGES[1:]} == {path.name for path in DOCS.glob("*.md")}
