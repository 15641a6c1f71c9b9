"""The command: from a dataset to a decoder on the Hub that answers in a fresh process."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainers.killed_runs import DECODER, last_given, run_command

QUICK = "--tiny --use_cpu --max_steps 4 --per_device_train_batch_size 4 --per_device_eval_batch_size 16"
QUICK += " --gradient_accumulation_steps 1 --eval_samples 4 --num_samples 2 --max_new_tokens 4 --disable_tqdm True"

WATCHED = QUICK.replace("--tiny ", "").replace("--max_steps 4", "--max_steps 60")
WATCHED = WATCHED.replace("--eval_samples 4", "--eval_samples 16")
WATCHED += " --train_scope full --learning_rate 5e-3 --warmup_steps 4 --eval_steps 2 --save_steps 2 --logging_steps 2"
WATCHED += " --metric_for_best_model accuracy_closed --patience 3 --report_to tensorboard --image_cache none"
SCORES = {2: 0.25, 4: 0.75, 6: 0.5, 8: 0.75, 10: 0.25}  # of the watched training, by its update
BEST = 4


def command(folder: Path, words: str, *more: str | Path, prepare: Callable[[], None] | None = None) -> tuple[int, str]:
    """(exit status, what was printed) of the command that writes to `folder`/out; `prepare` is called before it."""
    log = folder / "log"
    status = run_command([*words.split(), *more, "--output_dir", folder / "out"], log, prepare, DECODER)
    return status, log.read_text()


def plant(name: str, values: list[float]) -> None:
    """Has the scores of this process's evaluations say these values, whatever the training does on a processor."""
    from trainers.decoder.answer_evaluation import AnswerEvaluation

    found, planted = AnswerEvaluation.__call__, iter(values)
    AnswerEvaluation.__call__ = lambda *args: found(*args) | {name: next(planted)}


def history(folder: Path, name: str) -> dict[int, float]:
    """A metric of a training, by its update."""
    lines = json.loads((folder / "training_summary.json").read_text())["history"]
    return {line["step"]: line[name] for line in lines if name in line}


@pytest.fixture(scope="module")
def pushed(run, dataset, tmp_path_factory):
    """(the output folder, the repository, what was printed) of a short training with adapters that was pushed."""
    folder, repository = tmp_path_factory.mktemp("decoder") / "llama", "org/llama-pushed"
    words = ["--tiny", "--dataset", dataset, "--output_dir", folder, "--max_steps", "4", "--num_samples", "3"]
    words += ["--per_device_train_batch_size", "4", "--per_device_eval_batch_size", "16", "--max_new_tokens", "8"]
    process = run(
        "python",
        "trainers/run_decoder.py",
        *words,
        "--push_to_hub",
        "--hub_model_id",
        repository,
        "--disable_tqdm",
        "1",
    )
    return folder, repository, process.stdout


def test_the_folder_is_complete(pushed):
    """What the specification lists for a decoder's checkpoint, with safetensors and no pickle."""
    folder, _, _ = pushed
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= names
    assert {"tokenizer_config.json", "processor_config.json", "chat_template.jinja", "README.md"} <= names
    assert not [name for name in names if name.endswith(".bin") or name.startswith("adapter")]


def test_samples_are_written_printed_and_in_the_card(pushed):
    folder, _, printed = pushed
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 3
    card = (folder / "README.md").read_text()
    assert "## Sample answers" in card
    for sample in samples:
        assert sample["image_path"] in printed and f"reference: {sample['reference']}" in printed
        assert sample.keys() == {"image_path", "question", "reference", "generated"}


def test_the_adapters_are_in_the_weights_of_the_text_decoder_and_nowhere_else(pushed, chat, tmp_path):
    from safetensors.torch import load_file

    from modeling.tiny_checkpoints import write_tiny_decoder
    from trainers.decoder.data.collator import CHAT_TEMPLATE

    texts = [turn["content"] for messages in chat["train"]["plain_messages"] for turn in messages]
    write_tiny_decoder(tmp_path, texts, CHAT_TEMPLATE, seed=42)  # what `--tiny` started from
    before, after = (load_file(folder / "model.safetensors") for folder in (tmp_path, pushed[0]))
    assert before.keys() == after.keys()
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved == {name for name in before if ".layers." in name and name.startswith("language_model.")
                     and name.endswith("_proj.weight")}  # fmt: skip
    summary = json.loads((pushed[0] / "training_summary.json").read_text())
    assert summary["train_scope"] == "lora" and 0 < summary["trainable_parameters"] < summary["parameters"] / 4


@pytest.mark.slow
def test_it_answers_in_a_fresh_process(pushed, run, tmp_path):
    code = f"""
import json, sys
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
model, info = AutoModelForImageTextToText.from_pretrained({pushed[1]!r}, output_loading_info=True)
processor = AutoProcessor.from_pretrained({pushed[1]!r})
part = {{"type": "image", "image": Image.linear_gradient("L").convert("RGB")}}
chat = [{{"role": "user", "content": [part, {{"type": "text", "text": "Describe this medical image:"}}]}}]
inputs = processor.apply_chat_template(
    chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
)
tokens = model.generate(**inputs, max_new_tokens=5, do_sample=False)
missing = sorted(map(str, info["missing_keys"])) + sorted(map(str, info["unexpected_keys"]))
print(json.dumps({{"missing": missing, "new": int(tokens.shape[1] - inputs["input_ids"].shape[1])}}))
"""
    process = run("python", "-c", code, cwd=tmp_path, env={"PYTHONPATH": None}, fresh_home=True)
    answer = json.loads(process.stdout.splitlines()[-1])
    assert answer["missing"] == [] and 1 <= answer["new"] <= 5


def test_it_is_private(pushed, hub):
    from huggingface_hub import HfApi

    assert HfApi().model_info(pushed[1], token=hub.token).private


def test_an_encoder_is_no_decoder(tiny_encoder, run, dataset, tmp_path):
    words = ("--model_name_or_path", tiny_encoder, "--dataset", dataset, "--output_dir", tmp_path / "out")
    process = run("python", "trainers/run_decoder.py", *words, check=False)
    assert process.returncode == 2
    assert "a model of type 'siglip', not mllama" in process.stderr.splitlines()[-1]


# --- the best checkpoint, and what is seen of a training ---


@pytest.fixture(scope="module")
def watched(few_chats, tiny_decoder, tmp_path_factory) -> tuple[Path, str]:
    """(the output folder, what was printed) of a training that is stopped by a score of its answers."""
    folder = tmp_path_factory.mktemp("watched")
    words = ("--dataset", few_chats, "--model_name_or_path", tiny_decoder)
    # the best checkpoint is evaluated again at the end
    planted = functools.partial(plant, "accuracy_closed", [*SCORES.values(), SCORES[BEST]])
    status, printed = command(folder, WATCHED, *words, prepare=planted)
    assert status == 0, printed[-3000:]
    return folder / "out", printed


@pytest.mark.slow
def test_the_best_by_a_score_is_what_is_exported(watched):
    from transformers import AutoModelForImageTextToText

    folder, _ = watched
    assert history(folder, "eval_accuracy_closed") == SCORES
    summary = json.loads((folder / "training_summary.json").read_text())
    assert (summary["best_step"], summary["best_metric"]) == (BEST, SCORES[BEST])  # the first of two
    names = (f"checkpoint-{BEST}", f"checkpoint-{max(SCORES)}")
    assert {path.name for path in folder.glob("checkpoint-*")} == set(names)
    exported, chosen, last = (
        AutoModelForImageTextToText.from_pretrained(folder / name).state_dict() for name in (".", *names)
    )
    assert exported.keys() == chosen.keys()
    assert all(exported[name].equal(chosen[name]) for name in exported)
    assert not all(exported[name].equal(last[name]) for name in exported)


def test_patience_ends_it(watched):
    """After three evaluations without a better one; an equal one is no better."""
    assert json.loads((watched[0] / "training_summary.json").read_text())["updates"] == max(SCORES) == BEST + 3 * 2 < 60


def test_tensorboard_has_the_answers_with_their_pictures(watched):
    """As TensorBoard itself reads its files: of each evaluation a table and a picture of each row that has one."""
    import io

    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    folder, _ = watched
    found = {"texts": {}, "pictures": [], "scores": {}}
    for path in sorted((folder / "runs").rglob("events.out.tfevents.*")):
        events = EventAccumulator(str(path), size_guidance={"tensors": 0, "images": 0, "scalars": 0}).Reload()
        tags = events.Tags()
        for tag in [tag for tag in tags["tensors"] if tag.startswith("samples")]:
            found["texts"] |= {event.step: make_ndarray(event.tensor_proto).item() for event in events.Tensors(tag)}
        for tag in [tag for tag in tags["images"] if tag.startswith("samples")]:
            found["pictures"] += [(event.step, event.encoded_image_string) for event in events.Images(tag)]
        if "eval/accuracy_closed" in tags["scalars"]:
            for event in events.Scalars("eval/accuracy_closed"):
                # the best model is evaluated at the end again, which adds a second value to the last update
                found["scores"].setdefault(event.step, event.value)
    scores = history(folder, "eval_accuracy_closed")
    assert found["texts"].keys() == scores.keys() == found["scores"].keys()
    assert found["scores"] == pytest.approx(scores)
    for step, text in found["texts"].items():
        lines = (folder / "samples" / f"step-{step}.jsonl").read_text().splitlines()
        answers = [json.loads(line) for line in lines]
        assert len(answers) == 2
        for answer in answers:
            assert answer["question"].rstrip(".?") in text.decode() and answer["reference"].rstrip(".") in text.decode()
    assert len(found["pictures"]) == 2 * len(scores)
    for _, data in found["pictures"]:
        with Image.open(io.BytesIO(data)) as picture:
            assert 1 < max(picture.size) <= 256


def test_a_finished_training_has_nothing_to_do(watched, few_chats, tiny_decoder):
    folder, _ = watched
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    more = ("--dataset", few_chats, "--model_name_or_path", tiny_decoder, "--resume_from_checkpoint", "auto")
    status, printed = command(folder.parent, WATCHED, *more)
    assert status == 0 and "nothing to do" in printed.splitlines()[-1]
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# --- adapters alone, and both ---


BASE = "org/tiny-llama-vision"
LOGITS = """
import json, sys
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
found = {}
for name in sys.argv[1:]:
    model, info = AutoModelForImageTextToText.from_pretrained(name, output_loading_info=True)
    processor = AutoProcessor.from_pretrained(name)
    part = {"type": "image", "image": Image.linear_gradient("L").convert("RGB")}
    chat = [{"role": "user", "content": [part, {"type": "text", "text": "Is this an X-ray?"}]}]
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = model.eval()(**inputs).logits[0, -1]
    found[name] = {"logits": logits.tolist(), "missing": sorted(map(str, info["missing_keys"]))}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def base_repository(hub, tiny_decoder) -> str:
    from huggingface_hub import HfApi

    HfApi().create_repo(BASE, exist_ok=True)
    HfApi().upload_folder(repo_id=BASE, folder_path=tiny_decoder)
    return BASE


@pytest.fixture(scope="module")
def pushed_adapters(base_repository, few_chats, tmp_path_factory) -> tuple[Path, str]:
    """(the output folder, the repository) of adapters that were pushed."""
    folder, repository = tmp_path_factory.mktemp("adapters"), "org/llama-adapters"
    words = QUICK.replace("--tiny ", "") + " --learning_rate 1e-2 --export adapter --push_to_hub"
    more = ("--model_name_or_path", base_repository, "--hub_model_id", repository, "--dataset", few_chats)
    status, printed = command(folder, words, *more)
    assert status == 0, printed[-3000:]
    return folder / "out", repository


def test_pushed_adapters_are_complete_and_nothing_else_is_there(pushed_adapters, hub):
    from huggingface_hub import HfApi, hf_hub_download
    from safetensors import safe_open

    repository = pushed_adapters[1]
    names = set(HfApi().list_repo_files(repository))
    assert {"adapter_config.json", "adapter_model.safetensors", "processor_config.json", "tokenizer.json"} <= names
    assert {"tokenizer_config.json", "chat_template.jinja", "generation_config.json", "README.md"} <= names
    assert [name for name in names if name.endswith(".safetensors")] == ["adapter_model.safetensors"]
    assert "config.json" not in names  # with it, it would be taken for a model whose weights are missing
    state = ("checkpoint-", "runs/", "samples/", "optimizer", "trainer_state", "rng_state", "scheduler")
    assert not [name for name in names if name.startswith(state) or name.endswith((".bin", ".pt", ".pth"))]
    with safe_open(hf_hub_download(repository, "adapter_model.safetensors"), "pt") as file:
        assert all(".lora_A." in name or ".lora_B." in name for name in file.keys())  # noqa: SIM118 (no mapping)
    config = json.loads(Path(hf_hub_download(repository, "adapter_config.json")).read_text())
    assert config["base_model_name_or_path"] == BASE


def test_the_card_of_pushed_adapters_names_their_base(pushed_adapters):
    from huggingface_hub import ModelCard

    card = ModelCard.load(pushed_adapters[1])
    assert card.data.library_name == "peft" and card.data.base_model == BASE
    assert card.data.to_dict()["base_model_relation"] == "adapter"
    assert card.data.pipeline_tag == "image-text-to-text"


@pytest.mark.slow
def test_pushed_adapters_open_elsewhere_and_answer_as_they_do_here(pushed_adapters, run, tiny_decoder, tmp_path):
    """In a fresh process on another machine, which has neither the output folder nor the base; and not as the base."""
    folder, repository = pushed_adapters
    environment = {"PYTHONPATH": None}
    there = run("python", "-c", LOGITS, repository, BASE, cwd=tmp_path, env=environment, fresh_home=True)
    there = json.loads(there.stdout.splitlines()[-1])
    assert there[repository]["missing"] == []
    here = logits_over(tiny_decoder, folder)
    assert there[repository]["logits"] == pytest.approx(here, abs=1e-5)
    assert there[BASE]["logits"] != pytest.approx(here, abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("last", ["merged", "adapters"])
def test_what_was_pushed_last_is_what_opens(last, pushed_adapters, pushed, run, repo_name, tmp_path):
    """A model over adapters, and adapters over a model: `from_pretrained` would open the adapters either way."""
    from huggingface_hub import HfApi

    from trainers.base.training_run import push_folder

    folders = {"merged": pushed[0], "adapters": pushed_adapters[0]}
    for name in ("adapters", "merged") if last == "merged" else ("merged", "adapters"):
        push_folder(folders[name], repo_name, private=True, token=None)
        assert sorted(path for path in HfApi().list_repo_files(repo_name) if path.endswith(".safetensors")) == sorted(
            path.relative_to(folders[name]).as_posix()
            for path in folders[name].rglob("*.safetensors")
            if "checkpoint" not in str(path)
        )
    script = ("python", "-c", LOGITS)
    there = json.loads(run(*script, repo_name, cwd=tmp_path, fresh_home=True).stdout.splitlines()[-1])[repo_name]
    here = json.loads(run(*script, folders[last], cwd=tmp_path).stdout.splitlines()[-1])[str(folders[last])]
    assert there["missing"] == [] and there["logits"] == pytest.approx(here["logits"], abs=1e-6)


def test_every_file_that_is_pushed_is_known_as_ours(pushed, pushed_adapters):
    """Else it would stay when a model of another form is pushed."""
    from huggingface_hub import HfApi

    from model_cards.hub.model_repository import MODEL_FILE, RESULT_FILE

    known = re.compile(rf"{MODEL_FILE}|{RESULT_FILE.pattern}|README\.md|\.gitattributes")
    for repository in (pushed[1], pushed_adapters[1]):
        assert [name for name in HfApi().list_repo_files(repository) if not known.fullmatch(name)] == []


def logits_over(base: Path, adapters: Path) -> list[float]:
    """What LOGITS computes, of adapters put over their base by peft."""
    import torch
    from peft import PeftModel
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base), adapters).eval()
    part = {"type": "image", "image": Image.linear_gradient("L").convert("RGB")}
    chat = [{"role": "user", "content": [part, {"type": "text", "text": "Is this an X-ray?"}]}]
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        return model(**inputs).logits[0, -1].tolist()


def test_both_are_the_same_model(tiny_decoder, few_chats, tmp_path):
    """From a base that is a folder, which is said; both open and answer alike."""
    import torch
    from transformers import AutoModelForImageTextToText

    words = QUICK.replace("--tiny ", "") + " --learning_rate 1e-2 --export both"
    status, printed = command(tmp_path, words, "--model_name_or_path", tiny_decoder, "--dataset", few_chats)
    assert status == 0, printed[-3000:]
    assert f"The adapters require the base model {tiny_decoder}, a folder that other users may not have" in printed
    folder = tmp_path / "out"
    assert (folder / "model.safetensors").is_file() and (folder / "adapter" / "adapter_model.safetensors").is_file()
    card = (folder / "README.md").read_text()
    assert "library_name: transformers" in card and "\nbase_model:" not in card  # the Hub refuses a folder there
    merged = AutoModelForImageTextToText.from_pretrained(folder).eval()
    words = torch.tensor([[1, 5, 9, 40, 7]])
    adapted = AutoModelForImageTextToText.from_pretrained(folder / "adapter").eval()
    base = AutoModelForImageTextToText.from_pretrained(tiny_decoder).eval()
    with torch.no_grad():
        merged, adapted, base = (model(input_ids=words).logits for model in (merged, adapted, base))
    assert torch.allclose(merged, adapted, atol=1e-5) and not torch.allclose(merged, base, atol=1e-2)


@pytest.mark.slow
def test_the_base_and_its_commit_are_printed(base_repository, few_chats, tmp_path):
    from huggingface_hub import HfApi

    words = QUICK.replace("--tiny ", "") + " --dry_run"
    status, printed = command(tmp_path, words, "--model_name_or_path", base_repository, "--dataset", few_chats)
    assert status == 0, printed[-3000:]
    commit = HfApi().model_info(base_repository).sha
    assert f"model {base_repository} at commit {commit[:8]} (Hub)" in printed.splitlines()


# --- what is shown, and what is refused ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--tiny --dataset data/none", "--dataset data/none: no such folder"),
        ("--model_name_or_path outputs/none", "--model_name_or_path outputs/none: no such folder"),
        ("--tiny --max_seq_length 10", "--max_seq_length 10: 60 rows"),
    ],
)
def test_a_mistake_leaves_no_repository(words, said, few_chats, repo_name, tmp_path):
    from huggingface_hub import HfApi

    push = ("--dataset", few_chats, *f"--push_to_hub --hub_model_id {repo_name}".split(), *words.split())
    status, printed = command(tmp_path, "", *last_given(*QUICK.replace("--tiny ", "").split(), *push))
    assert status == 2 and said in printed.splitlines()[-1] and "Traceback" not in printed
    assert not HfApi().repo_exists(repo_name)


def test_an_earlier_training_is_replaced_and_everything_else_stays(few_chats, tmp_path):
    more = ("--dataset", few_chats)
    status, printed = command(tmp_path, QUICK, *more)
    assert status == 0, printed[-3000:]
    (tmp_path / "out" / "thesis.docx").write_text("years of work")
    assert command(tmp_path, QUICK, *more)[0] == 2
    again = last_given(*QUICK.split(), "--overwrite", "--max_steps", "2", "--save_strategy", "no", *more)
    status, printed = command(tmp_path, "", *again)
    assert status == 0 and f"kept in {tmp_path}/out, because no training wrote it: thesis.docx" in printed
    assert (tmp_path / "out" / "thesis.docx").read_text() == "years of work"
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def estimate_nothing() -> None:
    """Fills the dry run's table of memory with ones; the estimates take it seconds."""
    from trainers.decoder import dry_run
    from trainers.memory.tracker import MemoryEstimate

    dry_run.estimate_decoder = lambda *_: MemoryEstimate(dict.fromkeys(dry_run.KINDS, 1))


def test_a_dry_run_writes_nothing(few_chats, tmp_path):
    status, printed = command(tmp_path, QUICK + " --dry_run", "--dataset", few_chats, prepare=estimate_nothing)
    assert status == 0 and not (tmp_path / "out").exists()
    for title in ("One batch", "Rows", "Trainable weights", "Schedule", "Memory of one process, in MiB"):
        assert f"\n{title}\n" in printed
    assert "60 rows of " in printed and "[[" in printed and "as given" in printed
    assert printed.splitlines()[-1] == "Dry run: nothing was trained, and nothing written."


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["gpu_16gb", "demo", "8_gpus"])
def test_a_dry_run_of_a_shipped_recipe(recipe, few_chats, tmp_path):
    words = f"--config {recipe} --tiny --dry_run --use_cpu --image_cache none"
    status, printed = command(tmp_path, words, "--dataset", few_chats)
    assert status == 0, printed[-3000:]
    assert not (tmp_path / "out").exists()
    shown = {
        "demo": r"embeddings .* weights are trainable \(100\.00%\)",
        "gpu_16gb": r"(16|32) bits, checkpointing",
        "8_gpus": r"lora, checkpointing",
    }
    assert re.search(shown[recipe], printed)


def test_a_loss_that_is_no_number_ends_it_and_names_rows(few_chats, chat, tmp_path):
    words = QUICK + " --train_scope full --learning_rate 1e30 --eval_strategy no --save_strategy no"
    status, printed = command(tmp_path, words, "--dataset", few_chats)
    said = printed.splitlines()[-1]
    assert status == 2 and said.startswith("error: update ") and "Traceback" not in printed
    assert "lower --learning_rate" in said
    assert any(path in said for path in chat["train"]["image_path"])
    left = {path.name for path in (tmp_path / "out").rglob("*")} - {"runs"}
    assert not [name for name in left if name.endswith(".safetensors") or name == "README.md"], left


@pytest.fixture(scope="module")
def pairs_alone(pairs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "data"
    (folder / "pairs").mkdir(parents=True)
    pairs["train"].select(range(4)).to_parquet(str(folder / "pairs" / "train.parquet"))
    lines = ["configs:", "- config_name: pairs", "  data_files:", "  - split: train", "    path: pairs/train.parquet"]
    (folder / "README.md").write_text("\n".join(["---", *lines, "---", ""]))
    return folder


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            "--load_in_4bit --train_scope full",
            ("--load_in_4bit cannot be combined with --train_scope full: ", "give lora"),
        ),
        ("--max_seq_length 10", ("--max_seq_length 10: 60 rows (row 0, ", "Use at least --max_seq_length")),
        ("--modules_to_save lm_hat", ("--modules_to_save lm_hat: there is no such module", "lm_head")),
        ("--export adapter", ("--export adapter", "--tiny")),
        ("--metric_for_best_model acuracy", ("--metric_for_best_model acuracy: ", "accuracy_closed")),
    ],
)
def test_a_wrong_flag_is_one_message(words, parts, few_chats, tmp_path):
    status, printed = command(tmp_path, f"{QUICK} {words}", "--dataset", few_chats)
    said = printed.splitlines()[-1]
    assert status == 2 and said.startswith("error: ") and "Traceback" not in printed
    for part in parts:
        assert part in said
    assert "did you mean" not in said  # a flag that was given is not another one's misspelling
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_a_dataset_without_chats_is_one_message(pairs_alone, tmp_path):
    status, printed = command(tmp_path, QUICK, "--dataset", pairs_alone)
    said = printed.splitlines()[-1]
    assert status == 2 and said.startswith("error: ") and "Traceback" not in printed
    assert "no config 'chat'; it has pairs" in said and "`medpairs build`" in said
    assert not (tmp_path / "out").exists()
