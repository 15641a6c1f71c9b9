"""Checks every flag: its default, its values, and one message for each mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.images.validation import ImageSettings
from hub_datasets.ingest.ingest import stage_keys
from hub_datasets.options import BuildOptions, argument_parser, cache_of, processors, read_options
from hub_datasets.sources import SOURCES
from hub_datasets.splits import near_duplicates
from hub_datasets.splits.groups import Fractions, key_digest, memory_line
from hub_datasets.synthetic.marker import write_marker
from hub_datasets.texts.validation import TextSettings
from tests.conftest import ROOT
from tests.hub_datasets.layouts import pad_row, report_row, write_files, write_pad, write_reports

FLAGS = (
    *(flag for source in SOURCES for flag in (source.flag, *(f"--{name}" for name in source.choices))),
    "--output_dir", "--overwrite", "--num_shards", "--configs", "--val_fraction", "--test_fraction", "--split_by",
    "--keep_splits", "--near_distance",
    "--image_column", "--text_column", "--patient_column", "--split_column", "--label_column", "--max_report_chars",
    "--min_text_chars", "--max_text_chars", "--max_image_pixels", "--min_image_side", "--window", "--ocr", "--review",
    "--ungrounded", "--chat_turns", "--system_prompt", "--engine", "--num_proc", "--cache_dir", "--push_to_hub",
    "--public", "--redistribute", "--reviewed", "--keep_columns", "--key_file", "--drop_flagged",
    "--follow_links", "--frames",
)  # fmt: skip
DEFAULTS = {
    "val_fraction": 0.05, "test_fraction": 0.0, "split_by": "group", "min_text_chars": 5, "max_text_chars": 1000,
    "max_image_pixels": 64_000_000, "min_image_side": 8, "window": "auto", "ocr": False,
    "near_distance": near_duplicates.NEAR_DISTANCE, "chat_turns": "single", "system_prompt": "", "num_shards": 1,
    "ungrounded": "mark", "knee_conflicts": "reject", "pad_text": "visible", "max_report_chars": 8000,
    "image_column": "", "text_column": "", "patient_column": "", "split_column": "", "label_column": "",
    "keep_columns": "", "drop_flagged": False,
    "configs": "pairs,chat,regions", "frames": "refuse",
}  # fmt: skip


@pytest.fixture
def reports(tmp_path) -> Path:
    return write_reports(tmp_path / "reports", [report_row(0)])


@pytest.fixture
def options(reports, tmp_path):
    """`options(*flags)`: those of a build of one source, unless its folder or the output are among the flags."""

    def read(*flags: str | Path) -> BuildOptions:
        usual = {"--reports_dir": reports, "--output_dir": tmp_path / "out"}
        words = [word for flag, place in usual.items() if flag not in flags for word in (flag, place)]
        return read_options(argument_parser().parse_args([str(word) for word in (*words, *flags)]))

    return read


def usage_error(capsys, *flags: str) -> str:
    """What the parser itself says no to."""
    with pytest.raises(SystemExit) as refused:
        argument_parser().parse_args(list(flags))
    assert refused.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


# --- What the flags make


def test_without_any_flag(options, reports, tmp_path):
    found = options()
    assert [(source.name, folder.address) for source, folder in found.folders] == [("medical_reports", str(reports))]
    assert (found.output, found.cache) == (str(tmp_path / "out"), str(tmp_path / ".out.cache"))
    assert (found.images, found.texts, found.fractions) == (ImageSettings(), TextSettings(), Fractions())
    assert found.settings() == found.defaults() == DEFAULTS
    assert (found.engine, found.num_proc, found.overwrite, found.keep_splits) == ("local", processors(), False, "")


@pytest.mark.parametrize(
    ("flag", "value", "setting"),
    [("--val_fraction", "0.2", 0.2), ("--test_fraction", "0.94", 0.94), ("--split_by", "official", "official"),
     ("--min_text_chars", "0", 0), ("--max_text_chars", "7", 7), ("--max_image_pixels", "1", 1),
     ("--min_image_side", "1", 1), ("--window", "-100:400.5", "-100:400.5"), ("--near_distance", "0", 0),
     ("--near_distance", "127", 127), ("--chat_turns", "multi", "multi"), ("--system_prompt", "Be brief.", "Be brief."),
     ("--num_shards", "1000", 1000), ("--configs", "chat, pairs", "pairs,chat"),
     ("--knee_conflicts", "keep_lower", "keep_lower"),
     ("--max_report_chars", "9000", 9000), ("--image_column", "a", "a"), ("--text_column", " b ", "b"),
     ("--patient_column", "c", "c"), ("--split_column", "d", "d"), ("--label_column", "e", "e")],
    ids=str,
)  # fmt: skip
def test_a_flag_changes_its_own_setting_and_the_key(options, flag, value, setting, tmp_path):
    knees = ("--knee_dir", write_files(tmp_path / "knees", {"x.png": "x"}))
    found = options(*knees, f"{flag}={value}")
    assert found.settings() == DEFAULTS | {flag.removeprefix("--"): setting} and found.defaults() == DEFAULTS
    assert found.key(["k", "l"]) != options(*knees).key(["k", "l"])


@pytest.mark.parametrize("flags", [("--num_proc", "7"), ("--engine", "ray"), ("--cache_dir", "x"), ("--overwrite",)])
def test_how_the_work_is_done_is_no_part_of_the_result(options, flags):
    found = options(*flags)
    assert found.settings() == DEFAULTS and found.key(["k"]) == options().key(["k"])
    assert (
        found.num_proc == 7,
        found.engine == "ray",
        found.cache == str(Path("x/medpairs-cache").absolute()),
        found.overwrite,
    ).count(True) == 1


def test_no_processes_given_are_as_many_as_there_are_processors(options):
    assert options("--num_proc", "0").num_proc == processors() == len(os.sched_getaffinity(0))


def test_the_settings_of_images_and_texts(options):
    flags = ("--max_image_pixels", "99", "--min_image_side", "3", "--window", "0:9", "--min_text_chars", "1",
             "--max_text_chars", "50", "--val_fraction", "0.5", "--test_fraction", "0.25")  # fmt: skip
    found = options(*flags)
    assert found.images == ImageSettings(99, 3, "0:9", False) and found.texts == TextSettings(1, 50)
    assert found.fractions == Fractions(0.5, 0.25)


def test_the_key_names_what_was_read_and_from_where(options, reports, tmp_path):
    key = options().key(["k"])
    assert options("--output_dir", tmp_path / "other").key(["k"]) == key
    assert options().key(["l"]) != key
    moved = reports.rename(tmp_path / "moved")
    assert options("--reports_dir", moved).key(["k"]) != key  # chat_instructions.jsonl names it


# --- What makes no sense


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--val_fraction", "nan"], "--val_fraction is nan and --test_fraction is 0; both must be at least 0"),
        (["--val_fraction", "-0.1"], "--val_fraction is -0.1 and --test_fraction is 0; both must be at least 0"),
        (["--test_fraction", "-0.1"], "--val_fraction is 0.05 and --test_fraction is -0.1; both must be at least 0"),
        (["--test_fraction", "inf"], "--val_fraction is 0.05 and --test_fraction is inf; both must be at least 0"),
        (["--test_fraction", "0.95"], "--val_fraction is 0.05 and --test_fraction is 0.95; both must be at least 0"),
        (["--min_text_chars", "-1"], "--min_text_chars is -1 and --max_text_chars is 1000; use at least 0, and"),
        (["--max_text_chars", "6"], "--min_text_chars is 5 and --max_text_chars is 6; use at least 0, and"),
        (["--max_report_chars", "6"], "--min_text_chars is 5 and --max_report_chars is 6; use a maximum"),
        (["--image_column", "a", "--label_column", "a"], "--image_column and --label_column both name 'a'; use"),
        (["--near_distance", "-1"], "--near_distance is -1; use 0 to 127"),
        (["--near_distance", "128"], "--near_distance is 128; use 0 to 127"),
        (["--num_proc", "-1"], "--num_proc is -1; use at least 0"),
        (["--num_shards", "0"], "--num_shards is 0; use at least 1"),
        (["--configs", "pairs,x"], "--configs pairs,x: 'x' is not a config; choose from pairs, chat, regions"),
        (["--configs", "regions"], "--configs regions: add pairs or chat, because only some images have regions"),
        (["--max_image_pixels", "0"], "--max_image_pixels is 0; use at least 1"),
        (["--min_image_side", "0"], "--min_image_side is 0; use at least 1"),
        (["--window", "400:100"], "--window '400:100' is neither auto nor LOW:HIGH"),
        (["--window", "wide"], "--window 'wide' is neither auto nor LOW:HIGH"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_numbers_out_of_bounds(options, flags, message):
    with pytest.raises(BuildError) as refused:
        options(*(flags if flags[0] != "--window" else [f"--window={flags[1]}"]))
    assert str(refused.value).startswith(message) and len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--val_fraction", "half"], "argument --val_fraction: invalid float value: 'half'"),
        (["--num_proc", "1.5"], "argument --num_proc: invalid int value: '1.5'"),
        (["--near_distance", "x"], "argument --near_distance: invalid int value: 'x'"),
        (["--split_by", "patient"], "argument --split_by: invalid choice: 'patient'"),
        (["--chat_turns", "both"], "argument --chat_turns: invalid choice: 'both'"),
        (["--engine", "spark"], "argument --engine: invalid choice: 'spark'"),
        (["--knee_conflicts", "x"], "argument --knee_conflicts: invalid choice: 'x'"),
        (["--slake_directory", "x"], "unrecognized arguments: --slake_directory x"),
        (["--keep_splits"], "argument --keep_splits: expected one argument"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_values_that_a_flag_does_not_take(capsys, flags, message):
    assert message in usage_error(capsys, *flags)


@pytest.mark.parametrize(
    "action", [action for action in argument_parser()._actions if action.nargs != 0], ids=lambda action: action.dest
)
def test_a_flag_that_is_given_twice(capsys, action):
    """Folders of a source are taken together; of any other flag argparse would keep the last value."""
    (flag,) = action.option_strings
    values = [str(value) for value in action.choices or ("1", "2")]
    words = [flag, values[0], f"{flag}={values[-1]}"]
    if flag in {source.flag for source in SOURCES}:
        assert getattr(argument_parser().parse_args(words), action.dest) == ["1", "2"]
        return
    shown = [repr(str((action.type or str)(value))) for value in values]
    message = f"argument {flag}: given twice, as {shown[0]} and {shown[-1]}; give it once"
    assert usage_error(capsys, *words) == f"medpairs build: error: {message}"


def test_no_source_at_all():
    with pytest.raises(BuildError) as refused:
        read_options(argument_parser().parse_args([]))
    assert all(source.flag in str(refused.value) for source in SOURCES) and "medpairs sample" in str(refused.value)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.flag)
def test_folders_that_are_not_there_or_empty(options, source, tmp_path):
    with pytest.raises(BuildError, match=f"^{source.flag} {tmp_path}/gone: no such folder$"):
        options(source.flag, tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match=f"^{source.flag} {tmp_path}/empty: the folder is empty$"):
        options(source.flag, tmp_path / "empty")


@pytest.mark.parametrize("output", ["reports", ".", "alias", "reports/../reports"])
def test_an_output_that_holds_a_source(options, reports, tmp_path, output):
    """To replace it would be to delete what the build is made from."""
    (tmp_path / "alias").symlink_to(reports, target_is_directory=True)
    with pytest.raises(BuildError, match=rf"--output_dir .* contains --reports_dir {reports}; name another folder"):
        options("--output_dir", tmp_path / output)


@pytest.mark.parametrize("output", ["memory://raw", "memory://raw/", "memory://raw/slake"])
def test_an_output_behind_an_address_that_holds_a_source(options, output, tmp_path):
    with pytest.raises(BuildError, match=r"--output_dir memory://raw.* contains --slake_dir memory://raw/slake"):
        options("--slake_dir", "memory://raw/slake", "--output_dir", output)
    key = ("--key_file", tmp_path / "key")
    assert options("--slake_dir", "memory://raw/slake", "--output_dir", "memory://raw/slake2", *key).output


@pytest.mark.parametrize("flag", ["--output_dir", "--cache_dir"])
def test_what_a_build_writes_does_not_lie_in_a_source(options, reports, flag):
    """The next build would read it."""
    for place in (reports, reports / "a/b") if flag == "--cache_dir" else (reports / "a/b",):
        with pytest.raises(BuildError, match=rf"{flag} {place} is inside --reports_dir {reports}; name another folder"):
            options(flag, place)


def test_an_output_that_is_a_file(options, tmp_path):
    write_files(tmp_path, {"file": "x"})
    with pytest.raises(BuildError, match=r"--output_dir .*/file is a file; name a folder"):
        options("--output_dir", tmp_path / "file")


def test_addresses_are_taken_as_they_are(options, tmp_path):
    key = ("--key_file", tmp_path / "key")
    found = options("--slake_dir", "memory://raw/slake", "--output_dir", "memory://data/out", *key)
    assert found.folders[0][1].address == "memory://raw/slake"
    assert (found.output, found.cache) == ("memory://data/out", "memory://data/out/.cache")


def test_where_what_was_read_is_kept(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cache_of("data/out") == cache_of("data/out/") == str(tmp_path / "data/.out.cache")
    assert cache_of("s3://bucket/a/out/") == "s3://bucket/a/out/.cache"
    assert cache_of(".") == str(tmp_path.with_name(f".{tmp_path.name}.cache"))
    assert options("--cache_dir", "kept").cache == str(tmp_path / "kept/medpairs-cache")  # workers may be elsewhere
    assert options("--cache_dir", "memory://kept").cache == "memory://kept/medpairs-cache"


# --- What may be shared


def test_sources_that_may_not_be_shared(options, reports):
    assert options().restricted_sources() == ["medical_reports"]
    write_marker(reports)
    assert options().restricted_sources() == []


# --- Splits of an earlier build

LINES = memory_line(key_digest("image:1"), "test") + memory_line(key_digest("image:2"), "train")
KNOWN = {key_digest("image:1"): "test", key_digest("image:2"): "train"}


def test_the_splits_of_the_replaced_build_are_kept(options, tmp_path):
    assert options().memory() == {}
    write_files(tmp_path / "out", {"splits.txt": options().memory_header() + LINES})
    assert options("--overwrite").memory() == KNOWN


@pytest.mark.parametrize("flags", [("--val_fraction", "0.1"), ("--test_fraction", "0.1"), ("--split_by", "official")])
def test_other_shares_want_other_splits(options, tmp_path, flags):
    write_files(tmp_path / "out", {"splits.txt": options().memory_header() + LINES})
    assert options(*flags).memory() == {}
    assert options(*flags, "--keep_splits", tmp_path / "out").memory() == KNOWN


def test_the_splits_of_another_build_are_kept_if_asked_for(options, tmp_path):
    write_files(tmp_path / "other", {"splits.txt": "# anything\n" + LINES})
    write_files(
        tmp_path / "out", {"splits.txt": options().memory_header() + memory_line(key_digest("image:1"), "validation")}
    )
    assert options("--keep_splits", tmp_path / "other").memory() == KNOWN


def test_a_build_to_keep_that_has_no_splits(options, tmp_path):
    with pytest.raises(BuildError, match=r"--keep_splits .*/gone: no splits\.txt there; name the folder of a build"):
        options("--keep_splits", tmp_path / "gone").memory()


@pytest.mark.parametrize("content", ["x", "0123456789abcdef where\n", "\xff\n"])
def test_splits_that_cannot_be_read(options, tmp_path, content):
    write_files(tmp_path / "out", {"splits.txt": (options().memory_header() + content).encode("latin-1")})
    with pytest.raises(BuildError, match=r"out/splits\.txt: .*; name another build, or remove the file"):
        options().memory()


def test_the_key_names_the_splits_that_are_kept(options, reports, tmp_path):
    source, folder = options().folders[0]
    keys = stage_keys([(source, folder)], ImageSettings(), TextSettings())
    found = [options().key(keys)]
    for line in ("image:1", "image:2"):
        write_files(tmp_path / "other", {"splits.txt": "#\n" + memory_line(key_digest(line), "test")})
        found.append(options("--keep_splits", tmp_path / "other").key(keys))
    assert len(set(found)) == 3


# --- Help


@pytest.mark.parametrize("mode", ["strip", "reject"])
def test_clinical_texts_cannot_be_asked_for_and_refused(options, tmp_path, mode):
    pad = write_pad(tmp_path / "pad", [pad_row(1)])
    flags = ("--pad_ufes_dir", pad, "--pad_text", "clinical", "--ungrounded")
    with pytest.raises(BuildError, match=f"--pad_text clinical states .*, which --ungrounded {mode} refuses; use"):
        options(*flags, mode)
    assert options(*flags, "keep").ungrounded == "keep"
    assert options("--pad_ufes_dir", pad, "--ungrounded", mode).choices["pad_text"] == "visible"


def test_help_names_every_flag():
    command = [sys.executable, "hub_datasets/build.py", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"  {flag}" in shown for flag in FLAGS)
    assert "(default: 0.05)" in " ".join(shown.split())
    assert f"differ (default: {near_duplicates.NEAR_DISTANCE})" in " ".join(shown.split())
    flags = {option for action in argument_parser()._actions for option in action.option_strings}
    assert flags == {*FLAGS, "-h", "--help"}


def test_the_command_knows_its_flags_without_anything_heavy():
    """So that its help is there in a tenth of a second."""
    code = "import sys, hub_datasets.build; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    heavy = {"datasets", "numpy", "pandas", "PIL", "pyarrow", "torch", "transformers", "huggingface_hub", "fsspec",
             "jinja2", "pydicom", "rapidocr_onnxruntime", "ray", "tqdm"}  # fmt: skip
    assert "hub_datasets" in loaded.split() and not heavy & set(loaded.split())
