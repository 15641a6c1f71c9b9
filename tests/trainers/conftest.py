"""A small build of the synthetic sample, and tiny checkpoints, once for the tests of this folder."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests import drawn_once


@pytest.fixture(scope="module", autouse=True)
def little_garbage() -> None:
    """Keeps what earlier modules left out of the garbage collection that each training begins with."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def dataset(made_once) -> Path:
    """A build with the configs `pairs` and `chat` and the splits train, validation and test."""
    return made_once("sources", build_sample) / "data"


def build_sample(root: Path) -> None:
    from hub_datasets.build import main
    from hub_datasets.generate_sample import generate

    folders = generate(root / "raw", scale=0.15)
    flags = {"knee_xray": "knee", "pad_ufes_20": "pad_ufes", "slake": "slake", "medical_reports": "reports"}
    sources = [word for name, folder in folders.items() for word in (f"--{flags[name]}_dir", str(folder))]
    more = ["--val_fraction", "0.2", "--test_fraction", "0.1", "--num_proc", "1"]
    with drawn_once.blank():
        assert main([*sources, "--output_dir", str(root / "data"), *more]) == 0


@pytest.fixture(scope="session")
def pairs(dataset):
    from datasets import load_dataset

    return load_dataset(str(dataset), "pairs")


@pytest.fixture(scope="session")
def chat(dataset):
    from datasets import load_dataset

    return load_dataset(str(dataset), "chat")


@pytest.fixture(scope="session")
def few_chats(chat, tmp_path_factory) -> Path:
    """A dataset of 60 and 16 chats, most of them closed questions: so short a training learns to say yes or no."""
    folder = tmp_path_factory.mktemp("few") / "chats"
    (folder / "chat").mkdir(parents=True)
    card = ["---", "configs:", "- config_name: chat", "  data_files:"]
    for split, closed, others in (("train", 40, 20), ("validation", 12, 4)):
        rows = chat[split].shuffle(seed=0)
        is_closed = [kind == "CLOSED" for kind in rows["answer_type"]]
        chosen = [row for row, is_it in enumerate(is_closed) if is_it][:closed]
        chosen += [row for row, is_it in enumerate(is_closed) if not is_it][:others]
        rows.select(sorted(chosen)).to_parquet(str(folder / "chat" / f"{split}.parquet"))
        card += [f"  - split: {split}", f"    path: chat/{split}.parquet"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    return folder


@pytest.fixture(scope="session")
def speaking_decoder(few_chats, made_once) -> Path:
    """A tiny decoder that has learned to answer: with random weights every answer is empty, and no score ever moves."""
    from tests.trainers.killed_runs import DECODER, run_command

    words = "--tiny --use_cpu --train_scope full --learning_rate 5e-3 --max_steps 30 --per_device_train_batch_size 8"
    words += " --gradient_accumulation_steps 1 --eval_strategy no --eval_samples 0 --num_samples 0 --report_to none"

    def train(folder: Path) -> None:
        flags = [*words.split(), "--dataset", few_chats, "--output_dir", folder / "out"]
        assert run_command(flags, folder / "log", command=DECODER) == 0, (folder / "log").read_text()[-3000:]

    return made_once("speaking", train) / "out"


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory, pairs) -> Path:
    from modeling.tiny_checkpoints import write_tiny_encoder

    folder = tmp_path_factory.mktemp("encoder")
    write_tiny_encoder(folder, pairs["train"]["text"])
    return folder


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory, chat) -> Path:
    from modeling.tiny_checkpoints import write_tiny_decoder
    from trainers.decoder.data.collator import CHAT_TEMPLATE

    folder = tmp_path_factory.mktemp("decoder")
    texts = [turn["content"] for messages in chat["train"]["plain_messages"] for turn in messages]
    write_tiny_decoder(folder, texts, CHAT_TEMPLATE)
    return folder


@pytest.fixture
def make_decoder_trainer(tiny_decoder, chat, tmp_path):
    """`make_decoder_trainer(folder, **flags)` on a few rows, from flags as the command has them; not yet trained.

    Flags of DecoderArguments are known by their names; the trainer has them as its attribute `arguments`.
    """
    import torch

    from modeling.mllama.patch import prepare_mllama
    from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments
    from trainers.decoder.data.collator import DecoderCollator
    from trainers.decoder.data.dataset import decoder_rows
    from trainers.decoder.data.tokenization import encode_chats
    from trainers.decoder.model import load_decoder
    from trainers.decoder.trainer import DecoderTrainer
    from trainers.decoder.tuning import set_trainable

    def make(folder: str, **flags):
        own = {name: flags.pop(name) for name in list(flags) if name in DecoderArguments.__dataclass_fields__}
        own = {"lora_r": 4, "lora_dropout": 0.0, "model_name_or_path": str(tiny_decoder), "image_cache": "none"} | own
        settings = {"per_device_train_batch_size": 2, "per_device_eval_batch_size": 4, "learning_rate": 3e-3}
        settings |= {"gradient_accumulation_steps": 1, "logging_steps": 1, "disable_tqdm": True, "use_cpu": True}
        arguments = DecoderArguments(**own)
        training = DecoderTrainingArguments(output_dir=str(tmp_path / folder), **settings | flags)
        torch.manual_seed(0)  # of the adapters
        model, processor = load_decoder(arguments, chat["train"], training)
        model = set_trainable(model, arguments)
        prepare_mllama(model, arguments.isolate_rows)
        splits = {"train": 16, "validation": 8}
        splits = {name: chat[name].shuffle(seed=0).select(range(count)) for name, count in splits.items()}
        chats = {name: encode_chats(rows, processor, 512, arguments.train_on_prompt) for name, rows in splits.items()}
        rows = decoder_rows(splits, chats, processor, arguments)
        trainer = DecoderTrainer(
            model=model,
            args=training,
            data_collator=DecoderCollator(processor),
            train_dataset=rows["train"],
            eval_dataset=rows["validation"],
            processing_class=processor,
        )
        trainer.arguments = arguments
        trainer.record(arguments)
        return trainer

    return make
