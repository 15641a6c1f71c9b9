"""Runs the decoder's training and its baselines, each in its own process.

    python tests/benchmarks/decoder/peers.py trl --dataset DATA --start START --output_dir OUT --max_steps 12

`trl` is TRL's SFTTrainer with its best settings: no gradient checkpointing, and only the assistant's tokens in the
loss, with a template whose generation marks it can read. `trl_defaults` uses the defaults of SFTConfig except for
float32: checkpointing, and all text in the loss, in which Mllama's image token adds a meaningless term to each row.
`hf` is the stock Trainer with a collator of a few lines; `ours` is `run_decoder.py`. All train adapters on the same
modules with the same rank, scale, initial weights and optimizer, in float32 on the CPU, and write their measurements to
`measured.json` and a merged model. `start` writes the random model that all runs start from; `score` prints the loss of
models on held-out rows. LLaMA-Factory and axolotl pin other versions of transformers and use the same Trainer as `hf`
and `trl`; Unsloth requires a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

MEASURED = "measured.json"
TILE = 112
# A random Mllama with the proportions of the released one: for rows as long as those of SLAKE, the vision tower takes
# about 85 percent of the forward FLOPs, the projector and the image's keys and values about 6 percent. With patches of
# 8 pixels, an image has 788 tokens and a text 25; in the released model, the ratio is 6,404 to 128.
VISION = {"hidden_size": 160, "intermediate_size": 640, "num_hidden_layers": 4, "patch_size": 8}
VISION |= {"intermediate_layers_indices": [0, 3]}
TEXT = {"hidden_size": 256, "intermediate_size": 896, "num_attention_heads": 8, "num_key_value_heads": 2}
TEXT |= {"num_hidden_layers": 8, "cross_attention_layers": [2, 5]}
HEAD_SCALE = 4  # factor of the random head; with smaller logits, adapters alone could not give confident predictions
RANK, ALPHA = 16, 32
TARGETS = r".*language_model\.layers\.\d+\.(self_attn|cross_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"


def main(argv: list[str] | None = None) -> int:
    began = time.perf_counter()
    trainings = {"trl": sft_trainer, "trl_defaults": sft_trainer, "hf": stock_trainer, "ours": run_decoder}
    options = argument_parser([*trainings, "start", "score"]).parse_args(argv)
    if options.what == "start":
        write_start(options)
    elif options.what == "score":
        print_scores(options)
    else:
        clock = watch_steps(began)
        trainings[options.what](options)
        Path(options.output_dir, MEASURED).write_text(json.dumps(clock.measured), encoding="utf-8")
    return 0


def argument_parser(what: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=what)
    parser.add_argument("--dataset", required=True, help="folder of a build")
    parser.add_argument("--start", type=Path, required=True, help="initial checkpoint of all runs")
    parser.add_argument("--output_dir", type=Path)
    parser.add_argument("--models", nargs="+", help="folders to score")
    parser.add_argument(
        "--score_rows", type=int, default=64, help="rows of the validation split (default: %(default)s)"
    )
    parser.add_argument("--max_steps", type=int, default=4)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per_device_train_batch_size", type=int, default=8)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=2)
    parser.add_argument("--dataloader_num_workers", type=int, default=0)
    parser.add_argument("--rows_per_image", type=int, help="only for ours (default: the batch size)")
    return parser


def chats(options: argparse.Namespace, split: str = "train") -> Any:
    from datasets import load_dataset

    return load_dataset(options.dataset, "chat", split=split)


# --- measurement ---


def watch_steps(began: float) -> Any:
    """Adds a callback to every Trainer, which records the end of each update, the losses and the memory."""
    import transformers.trainer
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.measured: dict[str, Any] = {"steps": [], "losses": []}

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.measured["begin_seconds"] = time.perf_counter() - began

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.measured["steps"].append((time.perf_counter() - began, time.process_time()))

        def on_log(self, *_: Any, logs: dict | None = None, **__: Any) -> None:
            if logs and "loss" in logs:
                self.measured["losses"].append(round(float(logs["loss"]), 5))

        def on_train_end(self, *_: Any, **__: Any) -> None:
            status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
            self.measured["peak_mb"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024

    clock = Clock()
    transformers.trainer.DEFAULT_CALLBACKS.append(clock)
    return clock


# --- the trainings ---


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings that all trainings share, with the names of TrainingArguments."""
    return {
        "output_dir": str(options.output_dir),
        "max_steps": options.max_steps,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.01,
        "seed": options.seed,
        "per_device_train_batch_size": options.per_device_train_batch_size,
        "gradient_accumulation_steps": options.gradient_accumulation_steps,
        "dataloader_num_workers": options.dataloader_num_workers,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
    }


def sft_trainer(options: argparse.Namespace) -> None:
    """Trains with TRL's SFTTrainer and its own collator on the columns `images` and `messages`.

    https://huggingface.co/docs/trl/sft_trainer#training-vision-language-models
    """
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import SFTConfig, SFTTrainer

    best = {"gradient_checkpointing": False, "assistant_only_loss": True, "max_length": None}
    args = SFTConfig(**settings(options), **(best if options.what == "trl" else {}))
    trainer = SFTTrainer(
        AutoModelForImageTextToText.from_pretrained(options.start),
        args,
        train_dataset=chats(options).select_columns(["images", "messages"]),
        processing_class=AutoProcessor.from_pretrained(options.start),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS),
    )
    trainer.train()
    save(trainer, options)


def stock_trainer(options: argparse.Namespace) -> None:
    """Trains with the Trainer of transformers and a collator for chats with images."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer, TrainingArguments, set_seed

    processor = AutoProcessor.from_pretrained(options.start)
    image_token = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    set_seed(options.seed)
    model = AutoModelForImageTextToText.from_pretrained(options.start)
    model = get_peft_model(
        model, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS, task_type="CAUSAL_LM")
    )

    from evaluation.scoring.messages import plain_messages

    def conversation(row: dict) -> list[dict]:
        turns = [
            {"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]}
            for turn in plain_messages(row["messages"])
        ]
        first = next(turn for turn in turns if turn["role"] == "user")
        first["content"] = [{"type": "image", "image": image.convert("RGB")} for image in row["images"]] + first[
            "content"
        ]
        return turns

    def collate(rows: list[dict]) -> dict:
        batch = processor.apply_chat_template(
            [conversation(row) for row in rows],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            return_assistant_tokens_mask=True,
            processor_kwargs={"padding": True, "padding_side": "right"},
        )
        spoken = batch.pop("assistant_masks").bool() & (batch["input_ids"] != image_token)
        return {**batch, "labels": batch["input_ids"].masked_fill(~spoken, -100)}

    args = TrainingArguments(**settings(options), remove_unused_columns=False)
    data = {"train_dataset": chats(options), "data_collator": collate}
    trainer = Trainer(model=model, args=args, processing_class=processor, **data)
    trainer.train()
    save(trainer, options)


def save(trainer: Any, options: argparse.Namespace) -> None:
    """Writes the model with its adapters merged, and its processor."""
    model = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
    model.save_pretrained(options.output_dir)
    trainer.processing_class.save_pretrained(options.output_dir)


def run_decoder(options: argparse.Namespace) -> None:
    """Runs `trainers/run_decoder.py` unchanged."""
    from trainers.run_decoder import main

    status = main(our_flags(options))
    if status:
        raise RuntimeError(f"run_decoder.py ended with status {status}")


def our_flags(options: argparse.Namespace) -> list[str]:
    """Returns the command line of our training, without evaluations and samples, which the baselines do not have."""
    flags = settings(options) | {"model_name_or_path": options.start, "dataset": options.dataset}
    flags |= {"train_scope": "lora", "lora_r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.0}
    flags |= {"eval_strategy": "no", "num_samples": 0, "eval_samples": 0}
    flags |= {"image_cache": options.output_dir.with_name(f"{options.output_dir.name} images")}  # one cache per run
    if options.rows_per_image is not None:
        flags["rows_per_image"] = options.rows_per_image
    return [str(part) for name, value in flags.items() for part in (f"--{name}", value)]


# --- initial model and scores ---


def write_start(options: argparse.Namespace) -> None:
    """Writes the random model, and prints the shares of its parts in the forward FLOPs as JSON."""
    import torch
    from transformers import AutoModelForImageTextToText

    from evaluation.loading import load_model_and_processor
    from evaluation.scoring.messages import plain_messages
    from modeling.tiny_checkpoints import write_tiny_decoder

    rows = chats(options)
    template = (Path(__file__).parents[3] / "trainers/decoder/data/chat_template.jinja").read_text(encoding="utf-8")
    # Includes the words of the template, which are single tokens in the real tokenizer. Without them, they would be
    # split into letters and take up a third of each row.
    texts = [
        f"{turn['role']}\n\n{turn['content']}" for messages in rows["messages"] for turn in plain_messages(messages)
    ]
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"tile": TILE, "vision_sizes": VISION, "text_sizes": TEXT}
        write_tiny_decoder(Path(folder), texts, template, seed=0, **sizes)
        model, processor = load_model_and_processor(folder, AutoModelForImageTextToText)
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(HEAD_SCALE)
        model.save_pretrained(options.start)
        processor.save_pretrained(options.start)
    counts = {"rows": len(rows), "images": len(set(map(str, rows["image_path"])))}
    print(json.dumps(counts | forward_shares(model, processor, rows, options.per_device_train_batch_size)))


def forward_shares(model: Any, processor: Any, rows: Any, batch_size: int) -> dict[str, float]:
    """Counts the forward FLOPs of stock Mllama over batches that are spread over the rows.

    Returns:
        GFLOPs and padded tokens per row; the share of the vision tower, and that of the projector together with the
        keys and values of the cross-attention, which also depend on the image alone. The rest depends on the text.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from evaluation.scoring.decoder import to_conversation

    model.eval().set_attn_implementation("eager")  # the counter does not know the CPU kernels of sdpa
    total, tokens, count = 0, 0, 0
    by_part = {"vision_model": 0, "multi_modal_projector": 0, "cross_attn.k_proj": 0, "cross_attn.v_proj": 0}
    for start in range(0, len(rows), max(len(rows) // 4, batch_size)):
        batch = [rows[row] for row in range(start, min(start + batch_size, len(rows)))]
        inputs = processor.apply_chat_template(
            [to_conversation(row) for row in batch],
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "right"},
        )
        with torch.no_grad(), FlopCounterMode(display=False, depth=None) as counter:
            model(**inputs)
        counts = counter.get_flop_counts()
        total += counter.get_total_flops()
        for part in by_part:
            by_part[part] += sum(sum(ops.values()) for name, ops in counts.items() if name.endswith(f".{part}"))
        tokens += inputs["input_ids"].numel()
        count += len(batch)
    return {
        "gflops_a_row": round(total / count / 1e9, 2),
        "tokens_a_row": round(tokens / count, 1),
        "vision_tower": round(by_part.pop("vision_model") / total, 3),
        "projector_keys_values": round(sum(by_part.values()) / total, 3),
    }


def print_scores(options: argparse.Namespace) -> None:
    """Prints the mean loss of the answers of held-out rows with stock Mllama, as one JSON object by folder."""
    from transformers import AutoModelForImageTextToText

    from evaluation.loading import load_model_and_processor
    from evaluation.scoring.decoder import answer_loss
    from modeling.mllama.patch import prepare_mllama

    rows = chats(options, "validation")
    count = min(options.score_rows, len(rows))
    rows = rows.select([number * len(rows) // count for number in range(count)])
    scores = {}
    for folder in options.models:
        model, processor = load_model_and_processor(folder, AutoModelForImageTextToText)
        prepare_mllama(model, isolate_rows=False)  # gives exactly the results of stock Mllama
        scores[folder] = answer_loss(model, processor, rows, batch_size=8)
    print(json.dumps(scores))


if __name__ == "__main__":
    sys.exit(main())
