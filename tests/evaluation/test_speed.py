"""Runs `medpairs speed` on tiny models and checks its record, its table, and its errors."""

from __future__ import annotations

import json

import pytest

from evaluation.speed import argument_parser, main


def test_an_encoder(encoder, tmp_path, capsys):
    record = tmp_path / "speed.json"
    flags = ["--batch_sizes", "2,1", "--dtypes", "float32,bfloat16", "--warmup", "1", "--repeats", "2"]
    assert main(["--model", str(encoder), *flags, "--output_file", str(record)]) == 0
    content = json.loads(record.read_text("utf-8"))
    lines = content["lines"]
    combinations = [(line["what"], line["dtype"], line["batch_size"], line["by"]) for line in lines]
    expected = [
        (what, dtype, size, by)
        for dtype in ("float32", "bfloat16")
        for size in (1, 2)
        for what in ("images", "texts")
        for by in ("medpairs", "transformers")
    ]
    assert combinations == expected
    for line in lines:
        assert 0 < line["p50_ms"] <= line["p95_ms"] and line["repeats"] == 2
        assert line["per_second"] == pytest.approx(1000 * line["batch_size"] / line["p50_ms"])
        assert (line["speedup"] is None) == (line["by"] == "transformers")
        assert line["peak_memory"]["of"] in ("gpu", "process")
    assert content["versions"]["torch"] and content["hardware"]["processor"] and content["software"]["python"]
    assert (content["batch_sizes"], content["repeats"], content["warmup"]) == ([1, 2], 2, 1)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("| what ") and len(printed) == 2 + 16 + 1 and printed[-1] == f"Written to {record}"


@pytest.mark.slow
def test_a_decoder(decoder, tmp_path):
    record = tmp_path / "speed.json"
    flags = ["--batch_sizes", "1,2", "--warmup", "1", "--repeats", "2", "--max_new_tokens", "3"]
    assert main(["--model", str(decoder), *flags, "--output_file", str(record)]) == 0
    lines = json.loads(record.read_text("utf-8"))["lines"]
    assert [(line["what"], line["batch_size"], line["by"]) for line in lines[:4]] == [
        ("first token", 1, "medpairs"),
        ("first token", 1, "transformers"),
        ("further tokens", 1, "medpairs"),
        ("further tokens", 1, "transformers"),
    ]
    assert len(lines) == 8 and all(line["p50_ms"] > 0 for line in lines)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dtypes", "float32,int8"], "'int8' is not one of float32, bfloat16, float16"),
        (["--batch_sizes", "1,0"], "0 is not a positive integer"),
        (["--batch_sizes", ""], " is not a positive integer"),
        (["--repeats", "0"], "0 is not a positive integer"),
    ],
)
def test_flags_that_are_wrong(encoder, capsys, flags, message):
    with pytest.raises(SystemExit) as caught:
        main(["--model", str(encoder), *flags])
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_models_that_cannot_be_timed(decoder, tmp_path, capsys):
    assert main(["--model", str(decoder), "--max_new_tokens", "1"]) == 2
    assert "--max_new_tokens 1: a decoder needs at least 2" in capsys.readouterr().err
    other = tmp_path / "bert"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    assert main(["--model", str(other)]) == 2
    assert "a model of type 'bert' cannot be timed; the types are siglip, mllama" in capsys.readouterr().err
    assert main(["--model", "./none"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_defaults():
    options = argument_parser().parse_args(["--model", "m"])
    assert (options.batch_sizes, options.dtypes, options.repeats) == ([1, 8], ["float32"], 20)
