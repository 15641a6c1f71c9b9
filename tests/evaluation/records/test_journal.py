"""Checks that answers survive a killed run, and that no foreign or damaged journal is used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evaluation.loading import InputError
from evaluation.records.journal import FOLDER, Journal
from evaluation.records.sharing import batches

HEADER = {"model": "org/a", "settings": {"max_new_tokens": 8}}
KEYS = [f"row {number}" for number in range(10)]


def answers(journal: Journal, fails_at: int | None = None) -> tuple[list[str], list[list[str]]]:
    """Returns all answers, and the batches that were asked for them."""
    found, asked = [], []
    for batch in batches(len(KEYS), 4):
        keys = [KEYS[number] for number in batch]

        def ask(keys: list[str] = keys) -> list[str]:
            if fails_at == len(asked):
                raise KeyboardInterrupt
            asked.append(keys)
            return [f"answer to {key}" for key in keys]

        found += journal.values("answers", keys, ask)
    return found, asked


EXPECTED = [f"answer to {key}" for key in KEYS]
BATCHES = [KEYS[:4], KEYS[4:8], KEYS[8:]]


def file_of(folder: Path) -> Path:
    (path,) = (folder / FOLDER).glob("*.jsonl")
    return path


def test_an_interrupted_run_continues_with_the_batch_that_is_missing(tmp_path):
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path, HEADER) as journal:
        answers(journal, fails_at=2)
    with Journal(tmp_path, HEADER) as journal:
        assert answers(journal) == (EXPECTED, BATCHES[2:])
    with Journal(tmp_path, HEADER) as journal:
        assert answers(journal) == (EXPECTED, [])
        journal.remove()
    assert not (tmp_path / FOLDER).exists()


def test_other_settings_begin_another_journal(tmp_path):
    with Journal(tmp_path, HEADER) as journal:
        answers(journal)
    for header in (HEADER | {"model": "org/b"}, HEADER | {"settings": {"max_new_tokens": 16}}):
        with Journal(tmp_path, header) as journal:
            assert answers(journal) == (EXPECTED, BATCHES)
    assert len(list((tmp_path / FOLDER).glob("*.jsonl"))) == 3


def test_values_of_another_kind_are_others(tmp_path):
    with Journal(tmp_path, HEADER) as journal:
        assert journal.values("answers", ["a"], lambda: ["yes"]) == ["yes"]
        assert journal.values("losses", ["a"], lambda: [(1.5, 2)]) == [(1.5, 2)]
    with Journal(tmp_path, HEADER) as journal:
        assert journal.values("losses", ["a"], list) == [[1.5, 2]]


@pytest.mark.parametrize("lost", [1, 5, 40])
def test_a_line_that_was_being_written_is_made_again(tmp_path, lost):
    with Journal(tmp_path, HEADER) as journal:
        answers(journal)
    path = file_of(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    with Journal(tmp_path, HEADER) as journal:
        assert answers(journal) == (EXPECTED, BATCHES[2:])
    assert path.read_bytes() == whole


def test_a_header_that_was_being_written_is_made_again(tmp_path):
    with Journal(tmp_path, HEADER) as journal:
        answers(journal)
    path = file_of(tmp_path)
    path.write_bytes(path.read_bytes()[:20])
    with Journal(tmp_path, HEADER) as journal:
        assert answers(journal) == (EXPECTED, BATCHES)


def test_a_damaged_line_is_refused_by_its_number(tmp_path):
    with Journal(tmp_path, HEADER) as journal:
        answers(journal)
    path = file_of(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(b"answer to row 5", b"answer to row 6"), *lines[3:]]))
    with pytest.raises(InputError, match=r"\.0\.jsonl, line 3: damaged\. Delete the file"), Journal(tmp_path, HEADER):
        pass


def test_a_foreign_header_is_refused(tmp_path):
    for model in ("org/a", "org/b"):
        with Journal(tmp_path, {"model": model}) as journal:
            answers(journal)
    ours, theirs = (Journal(tmp_path, {"model": model}).path for model in ("org/a", "org/b"))
    shutil.copy(theirs, ours)
    with pytest.raises(InputError, match="not the journal of this evaluation"), Journal(tmp_path, {"model": "org/a"}):
        pass


def test_two_runs_do_not_write_one_journal(tmp_path):
    with Journal(tmp_path, HEADER), pytest.raises(InputError, match="another process is evaluating the same model"):  # noqa: SIM117
        with Journal(tmp_path, HEADER):
            pass
    with Journal(tmp_path, HEADER):
        pass


def test_a_model_must_answer_every_row(tmp_path):
    with Journal(tmp_path, HEADER) as journal, pytest.raises(ValueError, match="1 answers for 2 rows"):
        journal.values("answers", ["a", "b"], lambda: ["x"])


@pytest.mark.slow
def test_a_killed_evaluation_continues_to_the_same_answers(build, decoder, tmp_path, request):
    """The program itself, killed by the system in the middle of generation."""
    root = request.config.rootpath
    flags = ["--max_new_tokens", "8", "--batch_size", "2", "--limit", "40", "--frozen_encoder", "none"]
    script = [sys.executable, str(root / "evaluation" / "run_evaluation.py")]
    command = [*script, "--model", str(decoder), "--dataset", str(build), *flags, "--output_dir"]
    for folder in ("whole", "killed"):
        process = subprocess.Popen([*command, str(tmp_path / folder)], stderr=subprocess.DEVNULL)
        if folder == "whole":
            assert process.wait(300) == 0
            continue
        until = time.monotonic() + 300
        while lines(tmp_path / folder) < 8 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    kept = lines(tmp_path / "killed")
    assert 8 <= kept < 20  # of 20 batches
    before = file_of(tmp_path / "killed").read_bytes()
    process = subprocess.Popen([*command, str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while lines(tmp_path / "killed") <= kept and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert file_of(tmp_path / "killed").read_bytes()[: len(before) - 200] == before[: len(before) - 200]
    assert process.wait(300) == 0
    whole, continued = (predictions(tmp_path / folder) for folder in ("whole", "killed"))
    assert continued == whole and len(whole) == 40
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {p.name for p in (tmp_path / "whole").iterdir()}


def lines(folder: Path) -> int:
    """Returns the number of batches in the journal of a folder."""
    return sum(path.read_bytes().count(b"\n") - 1 for path in (folder / FOLDER).glob("*.jsonl") if path.stat().st_size)


def predictions(folder: Path) -> list[dict]:
    (path,) = folder.glob("*.predictions.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_evaluation_that_fails_midway_continues(build, decoder, tmp_path, monkeypatch, capsys):
    """The same in one process: the second run asks only what is missing."""
    import evaluation.scoring.decoder as scoring
    from evaluation.run_evaluation import main

    flags = ["--max_new_tokens", "2", "--batch_size", "4", "--limit", "16", "--frozen_encoder", "none"]
    words = ["--model", str(decoder), "--dataset", str(build), *flags, "--no_image_controls", "--output_dir"]
    generate, asked = scoring.generate_answers, []

    def counted(model, processor, rows, *rest, **more):
        if len(asked) == 2 and "killed" in os.environ:
            raise KeyboardInterrupt
        asked.append(len(rows))
        return generate(model, processor, rows, *rest, **more)

    monkeypatch.setattr(scoring, "generate_answers", counted)
    assert main([*words, str(tmp_path / "whole")]) == 0 and asked == [4, 4, 4, 4]
    asked.clear()
    monkeypatch.setenv("killed", "1")
    assert main([*words, str(tmp_path / "killed")]) == 130 and asked == [4, 4]
    asked.clear()
    monkeypatch.delenv("killed")
    assert main([*words, str(tmp_path / "killed")]) == 0 and asked == [4, 4]
    assert predictions(tmp_path / "killed") == predictions(tmp_path / "whole")
    names = [{path.name for path in (tmp_path / folder).iterdir()} for folder in ("killed", "whole")]
    assert names[0] == names[1] and len(names[0]) == 2


def test_predictions_are_written_before_the_controls(build, decoder, tmp_path, monkeypatch):
    import evaluation.scoring.decoder as scoring
    from evaluation.run_evaluation import main

    def fails(*_: object) -> None:
        (path,) = (tmp_path / "out").glob("*.predictions.jsonl")
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert len(rows) == 8 and all("generated" in row and "controls" not in row for row in rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(scoring, "answer_losses", fails)
    words = ["--model", str(decoder), "--dataset", str(build), "--max_new_tokens", "2", "--limit", "8"]
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 130


def test_another_base_below_adapters_begins_another_journal(tmp_path):
    """In the same place: what counts is its content."""
    from evaluation.records.run import base_hash

    base = tmp_path / "base"
    base.mkdir()
    found = [base_hash(""), base_hash("org/base"), base_hash(str(base))]
    for name in ("model.safetensors", "config.json", "chat_template.json"):
        (base / name).write_bytes(b"{}")
        found.append(base_hash(str(base)))
    assert found[:2] == ["", "org/base"] and len(set(found)) == 6
