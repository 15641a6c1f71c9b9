"""Fine-tunes Llama 3.2 Vision on image chats: questions and answers, and reports.

    medpairs train-decoder --dataset org/med-pairs --push_to_hub --hub_model_id org/llama-med
    medpairs train-decoder --config gpu_16gb --dataset org/med-pairs --dry_run

Starts from `meta-llama/Llama-3.2-11B-Vision-Instruct` or any Mllama checkpoint (`--model_name_or_path`), or from a
small random one (`--tiny`). Ends with the best checkpoint in `--output_dir`: a model that opens without peft, the
adapters alone, or both (`--export`), with sample answers and a card. `--config` is a YAML file of flags, or a recipe of
`trainers/recipes`; `--dry_run` shows what a run would do.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from model_cards.commands.console import command
from trainers.base.parser import parse
from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments

if TYPE_CHECKING:  # `--help` needs none of it
    from trainers.base.inputs import Inputs

# On the card: what the weights depend on.
CARD_FLAGS = ("train_scope", "use_dora", "modules_to_save", "load_in_4bit", "load_in_8bit")
CARD_FLAGS_OF_ROWS = ("max_seq_length", "train_on_prompt", "rows_per_image", "isolate_rows")


@command
def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`."""
    kinds = (DecoderArguments, DecoderTrainingArguments)
    arguments, training = parse(kinds, "medpairs train-decoder", __doc__, argv)
    from trainers.base.training_run import run

    return run(train, dry_run, arguments, training)


def load(arguments: DecoderArguments, training: DecoderTrainingArguments) -> Inputs:
    """Opens data and model. Raises InputError where one of them, or a flag about them, is wrong."""
    from transformers import set_seed

    from modeling.mllama.patch import prepare_mllama
    from trainers.base.inputs import Inputs, open_splits
    from trainers.decoder.data.dataset import decoder_rows
    from trainers.decoder.data.tokenization import encode_chats
    from trainers.decoder.model import load_decoder
    from trainers.decoder.tuning import describe_trainable, set_trainable

    splits, revision = open_splits(arguments, training, "chat")
    set_seed(training.seed)
    model, processor = load_decoder(arguments, splits[arguments.train_split], training)
    set_seed(training.seed)  # loading draws, and not everywhere as often: adapters start alike however it was done
    model = set_trainable(model, arguments)
    if training.process_index == 0:
        print("\n".join(describe_trainable(model)), flush=True)
    prepare_mllama(model, arguments.isolate_rows)
    chats = {}
    for name, rows in splits.items():
        with training.main_process_first(desc="reading conversations"):
            chats[name] = encode_chats(rows, processor, arguments.max_seq_length, arguments.train_on_prompt)
        if training.process_index == 0:
            print("".join(f"{name}: {line}\n" for line in chats[name].report()), end="")
    return Inputs(splits, revision, model, processor, decoder_rows(splits, chats, processor, arguments))


def dry_run(arguments: DecoderArguments, training: DecoderTrainingArguments) -> None:
    """Prints what a training would do, and writes nothing."""
    from trainers.decoder.dry_run import describe, load_bare

    describe(load_bare(arguments, training), arguments, training)


def train(arguments: DecoderArguments, training: DecoderTrainingArguments) -> None:
    """Loads data and model, trains, and leaves a complete model folder."""
    from model_cards.results import GENERATION, write_json
    from trainers.base.training_run import checked_name, evaluation_result, finish, summary_of, train_recorded
    from trainers.decoder.export import export_decoder
    from trainers.decoder.tuning import count_weights
    from trainers.images.cache_location import cache_folder

    name = checked_name(arguments, training, cache_folder(arguments.image_cache))
    if name is None:
        return
    inputs = load(arguments, training)
    trainer = build_trainer(inputs, arguments, training)
    train_recorded(trainer, arguments)

    summary = summary_of(trainer, inputs, arguments, kind="decoder", dataset_config="chat", **card_facts(arguments))
    # A quantized weight is stored in a fraction of a number, and counts as one.
    summary["parameters"] = sum(map(count_weights, trainer.accelerator.unwrap_model(trainer.model).parameters()))
    result = evaluation_result(trainer, name, GENERATION, "chat", arguments, inputs.revision)
    samples = sample_answers(trainer, inputs, arguments, training)
    export_decoder(trainer, inputs.processor, arguments, trainer.folder)
    if trainer.is_world_process_zero():
        write_samples(trainer.folder / "samples.jsonl", samples)
        write_json(trainer.folder / "training_args.json", training.to_dict())  # in which tokens are hidden
    finish(trainer, name, summary, result)


def card_facts(arguments: DecoderArguments) -> dict[str, Any]:
    """Returns the facts about the weights that the card shows beside the hyperparameters."""
    names = CARD_FLAGS_OF_ROWS + (CARD_FLAGS if arguments.has_adapters else CARD_FLAGS[:1])
    facts = {"export": arguments.export} | {name: getattr(arguments, name) for name in names}
    if arguments.has_adapters:
        facts["lora"] = f"r {arguments.lora_r}, alpha {arguments.lora_alpha}, dropout {arguments.lora_dropout}"
    return facts


def build_trainer(inputs: Inputs, arguments: DecoderArguments, training: DecoderTrainingArguments) -> Any:
    """Returns the trainer with its order of rows, and the rows that it answers during the training."""
    from trainers.base.callbacks import EpochCallback
    from trainers.decoder.data.collator import DecoderCollator
    from trainers.decoder.data.image_group_sampler import train_sampler
    from trainers.decoder.trainer import DecoderTrainer

    rows = inputs.rows[arguments.train_split]
    trainer = DecoderTrainer(
        model=inputs.model,
        args=training,
        data_collator=DecoderCollator(inputs.processor),
        train_dataset=rows,
        eval_dataset=inputs.rows.get(arguments.eval_split),
        processing_class=inputs.processor,
        answers=answers_of(inputs.rows.get(arguments.eval_split), arguments.eval_samples, inputs, arguments, training),
    )
    trainer.order = train_sampler(rows, arguments, training)
    trainer.add_callback(EpochCallback(trainer.order))
    return trainer


def answers_of(
    rows: Any, samples: int, inputs: Inputs, arguments: DecoderArguments, training: DecoderTrainingArguments
) -> Any:
    """Returns the rows that are answered; None for none."""
    from trainers.decoder.answer_evaluation import AnswerEvaluation

    if rows is None or not samples:
        return None
    shown, batch = min(samples, arguments.num_samples), training.per_device_eval_batch_size
    return AnswerEvaluation(rows, inputs.processor, samples, shown, arguments.max_new_tokens, batch, training.seed)


def sample_answers(
    trainer: Any, inputs: Inputs, arguments: DecoderArguments, training: DecoderTrainingArguments
) -> list[dict]:
    """Prints and returns answers of the final model to rows that were not trained on, where there are some.

    To be called by all processes, after the final evaluation, which has answered them already if it answers any.
    """
    rows = inputs.rows.get(arguments.eval_split, inputs.rows.get(arguments.train_split))
    answers = trainer.answers
    if answers is None and (answers := answers_of(rows, arguments.num_samples, inputs, arguments, training)):
        answers(trainer.model, trainer.accelerator)
    samples = []
    for answer in answers.answers if answers else ():
        path = rows.rows.select_columns(["image_path"])[answer.row]["image_path"]
        sample = {"image_path": path, "question": answer.question, "reference": answer.reference}
        samples.append(sample | {"generated": answer.generated})
        if trainer.is_world_process_zero():
            print(
                f"{path}\n  question:  {answer.question}\n  reference: {answer.reference}\n"
                f"  generated: {answer.generated}"
            )
    return samples


def write_samples(path: Path, samples: list[dict]) -> None:
    """Writes one JSON object per line."""
    import json

    path.write_text("".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
