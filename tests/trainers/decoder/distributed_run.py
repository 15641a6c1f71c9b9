"""Runs one process of `test_distributed.py`; a script, as `accelerate launch` requires one.

    accelerate launch --config_file trainers/accelerate_configs/ddp.yaml --num_processes 2 \\
        tests/trainers/decoder/distributed_run.py CHECKPOINT OUTPUT

trains, evaluates and resumes as the configuration says (DDP, FSDP2 or ZeRO-3), and process 0 writes the results to
OUTPUT/found.pt.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import numpy as np
import torch
import torch.distributed as dist
from transformers import AutoModelForImageTextToText, AutoProcessor

from evaluation.loading import InputError
from evaluation.scoring.decoder import answer_texts
from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX
from modeling.mllama.patch import prepare_mllama
from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments
from trainers.decoder.data.collator import DecoderCollator, PromptCollator
from trainers.decoder.trainer import DecoderTrainer
from trainers.decoder.tuning import set_trainable
from trainers.images.decoder_tiles import unpack_tiles

BATCH = 2
ROWS, EVALUATED = 13, 7  # 8 rows are an update; of the 5 that are left, 2 processes get 3 and 2, and 3 more that repeat
WITHOUT_IMAGE = (2, 3, 5, 8, 9, 12)  # whole batches of one process, too
LAUNCHED = {"fsdp2": "ACCELERATE_USE_FSDP", "zero3": "ACCELERATE_USE_DEEPSPEED"}
SCOPES = ("full", "lora")


class Items(torch.utils.data.Dataset):
    """Rows as DecoderRows gives them, of random tokens and tiles; their answers have from 1 to 23 tokens."""

    def __init__(self, processor: Any, rows: int, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        image, words = processor.image_token_id, processor.image_token_id - 300
        size = processor.image_processor.size["height"]
        self.items = []
        for row in range(rows):
            seen = row not in WITHOUT_IMAGE
            prompt = [image] * seen + random.integers(3, words, 3 + row % 4).tolist()
            answer = random.integers(3, words, 1 + 11 * row % 23).tolist()
            tiles = random.integers(0, 256, (1 + row % 2, 3, size, size), dtype=np.uint8)
            self.items.append(
                {
                    "row": row,
                    "input_ids": np.array(prompt + answer),
                    "labels": np.array([IGNORE_INDEX] * len(prompt) + answer),
                    "prompt_length": len(prompt),
                    "images": [(row, tiles, 1 + row % 2)] * seen,
                }
            )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> dict:
        return self.items[row]


class InOrder(DecoderTrainer):
    """Rows in their order, so that the test knows which process has batches without images."""

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def make_trainer(checkpoint: str, folder: str, processes: int, scope: str, **flags: Any) -> DecoderTrainer:
    """Two epochs of updates of 8 rows, in float64; the gradients are as large as the optimizer's epsilon."""
    processor = AutoProcessor.from_pretrained(checkpoint)
    settings = {"learning_rate": 1e-3, "adam_epsilon": 1e-3, "num_train_epochs": 2, "max_grad_norm": 1.0, "seed": 3}
    settings |= {"logging_steps": 1, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 9}
    args = DecoderTrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        gradient_accumulation_steps=4 // processes,
        disable_tqdm=True,
        use_cpu=True,
        report_to="none",
        ddp_backend="gloo" if processes > 1 else None,
        **{"eval_strategy": "no", "load_best_model_at_end": False} | settings | flags,
    )
    if processes > 1:
        pretend_gpus()
    model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float64)
    prepare_mllama(model)
    torch.manual_seed(0)  # of the adapters
    return InOrder(
        model=set_trainable(model, DecoderArguments(train_scope=scope, lora_r=4, lora_dropout=0.0)),
        args=args,
        data_collator=DecoderCollator(processor),
        train_dataset=Items(processor, ROWS),
        eval_dataset=Items(processor, EVALUATED),  # so that it gets better
        processing_class=processor,
    )


def pretend_gpus() -> None:
    """Has accelerate split weights on processors: it reads FSDP's settings where the processes have GPUs only."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    if kind() == "fsdp2":
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def kind() -> str:
    """How these processes were launched."""
    return next((kind for kind, name in LAUNCHED.items() if os.environ.get(name, "").lower() == "true"), "ddp")


def trainer_run(checkpoint: str, folder: str, processes: int, resume: str | None = None, **flags: Any) -> dict:
    """The log of a training, the weights that it ends with, and their evaluation."""
    trainer = make_trainer(checkpoint, folder, processes, **flags)
    trainer.train(resume_from_checkpoint=resume)
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    evaluation = {name: value for name, value in trainer.evaluate().items() if name.endswith("loss")}
    return {
        "type": trainer.accelerator.distributed_type.value,
        "losses": [entry["loss"] for entry in log],
        "norms": [entry["grad_norm"] for entry in log],
        "evaluation": evaluation,
        "best": trainer.state.best_global_step,
        "weights": weights(trainer),
        "answers": answers(trainer, processes),
    }


def answers(trainer: DecoderTrainer, processes: int) -> list[str]:
    """What is answered to two rows, by one process each where there are two, with 2 and 9 tokens."""
    model, processor = trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class
    model.eval()
    texts = []
    for row, tokens in enumerate((2, 9)):
        if processes == 1 or row == dist.get_rank():
            inputs = unpack_tiles(PromptCollator(processor)([trainer.eval_dataset[row]]), processor.image_processor)
            texts.append(answer_texts(model, processor, inputs, tokens))
    if processes > 1:
        gathered: list[Any] = [None] * processes
        dist.all_gather_object(gathered, texts)
        texts = [text for part in gathered for text in part]
    return [text for (text,) in texts]


def weights(trainer: DecoderTrainer) -> dict[str, torch.Tensor]:
    """Those that learn, whole."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    return {name: whole(value) for name, value in model.named_parameters() if value.requires_grad}


def whole(parameter: torch.Tensor) -> torch.Tensor:
    """A parameter, also where it is split among the processes."""
    if hasattr(parameter, "ds_id"):
        from deepspeed.runtime.zero.partition_parameters import GatheredParameters

        with GatheredParameters([parameter]):
            return parameter.detach().clone()
    return (parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter).detach().clone()


def refusal(checkpoint: str, folder: str, processes: int, **flags: Any) -> str:
    """What is said of a way of dealing out rows that would change the loss."""
    try:
        make_trainer(checkpoint, folder, processes, "lora", **flags)
    except InputError as error:
        return str(error)
    return ""


def best_run(checkpoint: str, folder: str, processes: int, scope: str) -> dict:
    """A training whose best model, of the highest loss here, is its first; it is loaded at the end."""
    flags = {"eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True, "greater_is_better": True}
    return trainer_run(checkpoint, folder, processes, scope=scope, **flags)


def everything(checkpoint: str, output: Path, processes: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for scope in SCOPES:
        folder = output / scope
        found[scope] = trainer_run(checkpoint, str(folder), processes, scope=scope)
        resume = str(folder / "checkpoint-2")
        found[f"{scope} resumed"] = trainer_run(checkpoint, f"{folder}-resumed", processes, resume, scope=scope)
        found[f"{scope} best"] = best_run(checkpoint, f"{folder}-best", processes, scope)
    return found


def main(checkpoint: str, output: Path) -> None:
    processes = int(os.environ["WORLD_SIZE"])
    found = everything(checkpoint, output, processes)
    found["refused"] = {
        name: refusal(checkpoint, str(output / "refused"), processes, **flags)
        for name, flags in {
            "split": {"accelerator_config": {"split_batches": True}},
            "dispatch": {"accelerator_config": {"dispatch_batches": True}},
            "tokens": {"average_tokens_across_devices": False},
        }.items()
    }
    if dist.get_rank() == 0:
        torch.save(found, output / "found.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
