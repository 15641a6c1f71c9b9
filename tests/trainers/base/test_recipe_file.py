"""Recipes are read strictly, the command line wins over them, and what was run can be run again from what it wrote."""

from __future__ import annotations

import pytest
import yaml

from trainers.base.parser import parse
from trainers.base.recipe_file import RecipeError, find_recipe, read_recipe, shipped, write_recipe
from trainers.encoder.arguments import EncoderArguments, EncoderTrainingArguments

KINDS = (EncoderArguments, EncoderTrainingArguments)


@pytest.fixture
def recipe(tmp_path):
    def write(text: str):
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def flags(*words, prog="medpairs train-encoder"):
    return parse(KINDS, prog, "", [str(word) for word in words])


def test_the_command_line_wins_over_the_recipe_and_the_recipe_over_the_defaults(recipe):
    path = recipe("learning_rate: 1e-3\nper_device_train_batch_size: 4\npositives: mask\n")
    arguments, training = flags("--config", path, "--per_device_train_batch_size", "2")
    assert (training.learning_rate, training.per_device_train_batch_size) == (1e-3, 2)
    assert arguments.positives == "mask" and training.gradient_accumulation_steps == 8


def test_a_flag_that_says_the_default_wins_too(recipe):
    """What is given counts, and not what differs."""
    _, training = flags("--config", recipe("gradient_accumulation_steps: 2\n"), "--gradient_accumulation_steps", "8")
    assert training.gradient_accumulation_steps == 8


@pytest.mark.parametrize("spelling", [["--config", "{}"], ["--config={}"], ["{}"]])
def test_a_recipe_is_named_in_three_ways(spelling, recipe):
    path = recipe("seed: 7\n")
    assert flags(*(word.format(path) for word in spelling), "--tiny")[1].seed == 7
    assert flags(*(word.format("demo") for word in spelling))[0].tiny is True
    assert flags(*(word.format("encoder_demo") for word in spelling))[0].tiny is True


def test_numbers_flags_lists_and_nothing(recipe):
    path = recipe(
        "learning_rate: 1e-4\nwarmup_steps: 10\nweight_decay: 0\nhorizontal_flip: true\nimage_mean: imagenet\n"
        "image_std: [0.5, 0.25, 0.5]\nmatryoshka_dims: [768, 512]\npatience: null\nreport_to: none\n"
        "eval_strategy: 'no'\nlr_scheduler_kwargs: {num_cycles: 0.5}\nnormalize_text: false\n"
    )
    arguments, training = flags("--config", path)
    assert training.learning_rate == 1e-4 and isinstance(training.learning_rate, float)
    assert training.weight_decay == 0 and training.get_warmup_steps(100) == 10
    assert arguments.horizontal_flip is True and arguments.normalize_text is False
    assert arguments.channels("image_mean") == [0.485, 0.456, 0.406]
    assert arguments.channels("image_std") == [0.5, 0.25, 0.5]
    assert arguments.matryoshka_dims == [768, 512] and training.patience is None
    assert training.report_to == [] and training.eval_strategy == "no"
    assert training.lr_scheduler_kwargs == {"num_cycles": 0.5}


def mistakes():
    yield "unknown", "learning_rat: 1e-3", "learning_rat is not a flag of this command; did you mean learning_rate?"
    yield "far", "zzzz: 1", "zzzz is not a flag of this command; --help lists the flags"
    yield "nested", "config: other.yaml", "config is not a flag"
    yield "twice", "seed: 1\ntiny: true\nseed: 2", "line 3: duplicate key seed"
    yield "whole", "per_device_train_batch_size: 8.5", "per_device_train_batch_size: expected a whole number, found 8.5"
    yield "quoted", "seed: '7'", "seed: expected a whole number, found '7'"
    yield "number", "learning_rate: fast", "learning_rate: expected a number, found fast"
    yield "infinite", "learning_rate: .nan", "learning_rate: expected a number, found .nan"
    yield "boolean", "tiny: 1", "tiny: expected true or false, found 1"
    yield "word", "tiny: 'true'", "tiny: expected true or false, found 'true'"
    yield "norway", "freeze: no", "an unquoted no, off, yes or on"
    yield "text", "dataset: 7", "dataset: expected text, found 7"
    yield "null", "dataset: null", "dataset: expected text, found null"
    yield "choice", "positives: all", "positives: expected one of group, mask, pair, found all"
    yield "enum", "lr_scheduler_type: [cosine]", "lr_scheduler_type: expected text, found"
    yield "list", "matryoshka_dims: [768, wide]", "a list of whole numbers or null"
    yield "syntax", "seed: [1", "line "
    yield "no mapping", "- seed", "flags and values are expected"
    yield "empty", "", "flags and values are expected"
    yield "number key", "7: seed", "the key 7 is not a string"
    yield "code", "seed: !!python/object/apply:os.getcwd []", "could not determine a constructor"


@pytest.mark.parametrize(("text", "said"), [row[1:] for row in mistakes()], ids=[row[0] for row in mistakes()])
def test_a_mistake_names_the_file_the_key_and_what_is_expected(text, said, recipe, capsys):
    path = recipe(text)
    with pytest.raises(SystemExit) as stopped:
        flags("--config", path)
    message = capsys.readouterr().err
    assert stopped.value.code == 2 and message.count("\n") == 1
    assert message.startswith(f"error: --config {path}") and said in message


def test_a_value_that_a_dataclass_refuses_is_refused_from_a_recipe_too(recipe, capsys):
    with pytest.raises(SystemExit):
        flags("--config", recipe("contrastive_batch_size: 7\n"))
    assert "--contrastive_batch_size 7" in capsys.readouterr().err


def test_a_recipe_that_is_not_there_is_answered_with_those_that_are(capsys):
    with pytest.raises(
        RecipeError, match=r"gpu_99gb: neither a file nor a recipe; .* 8_gpus, demo, gpu_16gb, gpu_80gb"
    ):
        find_recipe("gpu_99gb", "encoder")
    for words in (["--config"], ["--config", "demo", "--config", "demo"], ["demo", "--config", "demo"]):
        with pytest.raises(SystemExit):
            flags(*words)
        assert capsys.readouterr().err.startswith("error: --config")
    assert all(name.startswith("encoder_") for name in shipped("encoder"))


def test_the_decoder_reads_recipes_too(recipe):
    from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments

    path = recipe("lora_r: 4\nlearning_rate: 3e-4\nmodules_to_save: [lm_head]\n")
    kinds = (DecoderArguments, DecoderTrainingArguments)
    arguments, training = parse(kinds, "medpairs train-decoder", "", ["--config", str(path), "--lora_alpha", "8"])
    assert (arguments.lora_r, arguments.lora_alpha, arguments.modules_to_save) == (4, 8, ["lm_head"])
    assert training.learning_rate == 3e-4


def test_a_run_writes_the_recipe_of_itself(tmp_path):
    words = ["--tiny", "--learning_rate", "3e-4", "--vision_lr", "0", "--eval_strategy", "no", "--max_steps", "5"]
    words += ["--image_mean", "imagenet", "--no_normalize_text", "--hub_token", "hf_secret", "--overwrite"]
    words += ["--optim", "sgd", "--matryoshka_dims", "768", "256", "--output_dir", tmp_path / "out"]
    before = flags(*words)
    write_recipe(tmp_path / "recipe.yaml", *before)
    text = (tmp_path / "recipe.yaml").read_text()
    assert "hf_secret" not in text and "overwrite" not in yaml.safe_load(text)
    assert yaml.safe_load(text)["optim"] == "sgd" and "adam_epsilon" not in yaml.safe_load(text)
    arguments, training = flags("--config", tmp_path / "recipe.yaml", "--overwrite")
    assert arguments == before[0]
    expected = before[1].to_dict() | {"hub_token": None}
    assert training.to_dict() | {"hub_token": None} == expected


def test_every_flag_can_stand_in_a_recipe(recipe):
    """Each default, written down, is read as itself: no flag has a type that recipes do not know."""
    arguments, training = flags()
    path = recipe("seed: 1\n")
    write_recipe(path, arguments, training)
    values = yaml.safe_load(path.read_text()) | {
        name: value
        for name, value in training.to_dict().items()
        if not name.endswith("_token") and EncoderTrainingArguments.__dataclass_fields__[name].init
    }
    path.write_text(yaml.safe_dump(values))
    read = read_recipe(path, KINDS)
    assert {name: getattr(value, "value", value) for name, value in read.items()} == values
