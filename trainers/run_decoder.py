"""Fine-tunes Llama 3.2 Vision on image chats: questions and answers, and reports.

    python trainers/run_decoder.py --dataset org/med-pairs --push_to_hub --hub_model_id org/llama-med

Starts from `meta-llama/Llama-3.2-11B-Vision-Instruct` or any Mllama checkpoint (`--model_name_or_path`), or from a
small random one (`--tiny`). Ends with the best checkpoint by validation loss in `--output_dir`, adapters merged, with
sample answers and a card.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from trainers.arguments import check_output_dir, fail
from trainers.command_line import parse
from trainers.decoder_arguments import DecoderArguments, DecoderTrainingArguments


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 where the input or a flag is at fault."""
    kinds = (DecoderArguments, DecoderTrainingArguments)
    arguments, training = parse(kinds, "medpairs-train-decoder", __doc__, argv)
    check_output_dir(training)

    from evaluation.loading import InputError

    try:
        train(arguments, training)
    except InputError as error:
        fail(str(error))
    return 0


def train(arguments: DecoderArguments, training: DecoderTrainingArguments) -> None:
    """Loads data and model, trains, generates samples, and leaves a complete model folder."""
    from transformers import set_seed

    from evaluation.loading import dataset_revision, load_splits
    from model_cards.results import GENERATION, is_commit
    from trainers.decoder_collator import DecoderCollator
    from trainers.decoder_export import export_decoder
    from trainers.decoder_model import load_decoder
    from trainers.decoder_trainer import DecoderTrainer
    from trainers.decoder_tuning import choose_learning
    from trainers.medical_trainer import (
        evaluation_result,
        finish,
        nothing_to_do,
        prepare_output,
        repository_name,
        without_evaluation,
    )

    if nothing_to_do(training, arguments):
        return
    revision = dataset_revision(arguments.dataset, arguments.dataset_revision)
    commit = revision if is_commit(revision) else None  # what is recorded is what is read
    splits = load_splits(arguments.dataset, "chat", [arguments.train_split, arguments.eval_split], commit)
    if arguments.eval_split not in splits:
        without_evaluation(training, arguments.eval_split)
    name = repository_name(training)
    set_seed(training.seed)
    model, processor = load_decoder(arguments, splits[arguments.train_split], training)
    model = choose_learning(model, arguments)
    prepare_output(training)
    trainer = DecoderTrainer(
        model=model,
        args=training,
        data_collator=DecoderCollator(processor, arguments.max_seq_length),
        train_dataset=splits[arguments.train_split],
        eval_dataset=splits.get(arguments.eval_split),
        processing_class=processor,
    )
    trainer.record(arguments)
    trainer.train_from_flags()

    folder = Path(training.output_dir)
    summary = trainer.summary(
        kind="decoder",
        base_model="" if arguments.tiny else arguments.model_name_or_path,
        dataset=arguments.dataset,
        dataset_config="chat",
        dataset_revision=revision,
        rows={split: len(rows) for split, rows in splits.items()},
        train_scope=arguments.train_scope,
        **({"lora": f"r {arguments.lora_r}, alpha {arguments.lora_alpha}"} if arguments.train_scope == "lora" else {}),
    )
    result = evaluation_result(trainer, name, GENERATION, "chat", arguments, revision)
    model = export_decoder(trainer, processor, arguments, folder)
    if trainer.is_world_process_zero():
        unseen = splits.get(arguments.eval_split, splits[arguments.train_split])
        write_samples(folder / "samples.jsonl", model, processor, unseen, arguments)
    finish(trainer, name, summary, result)


def write_samples(path: Path, model: Any, processor: Any, rows: Any, arguments: DecoderArguments) -> None:
    """Generates answers to evenly spread rows, prints them, and writes them as one JSON a line."""
    from evaluation.decoder_scoring import generate_answers

    count = min(arguments.num_samples, len(rows))
    chosen = rows.select([index * len(rows) // count for index in range(count)]) if count else rows.select([])
    answers = generate_answers(model, processor, chosen, 4, arguments.max_new_tokens)
    with path.open("w", encoding="utf-8") as file:
        for row, answer in zip(chosen, answers, strict=True):
            question, reference = (turn["content"] for turn in row["messages"][-2:])
            sample = {"image_path": row["image_path"], "question": question, "reference": reference}
            file.write(json.dumps(sample | {"generated": answer}, ensure_ascii=False) + "\n")
            print(f"{row['image_path']}\n  question:  {question}\n  reference: {reference}\n  generated: {answer}")


if __name__ == "__main__":
    sys.exit(main())
