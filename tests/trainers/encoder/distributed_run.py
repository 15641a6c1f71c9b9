"""Runs one process of `test_distributed.py`; a script, as `accelerate launch` requires one.

    accelerate launch --config_file trainers/accelerate_configs/ddp.yaml --num_processes 2 \\
        tests/trainers/encoder/distributed_run.py OUTPUT

trains, evaluates and resumes, and process 0 writes what came of it to OUTPUT/found.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from evaluation.loading import InputError
from modeling.siglip_medical.matryoshka_loss import embedding_loss
from tests.trainers.small_pairs import gradients, small_model, small_pairs, split, stack
from trainers.encoder.arguments import EncoderTrainingArguments
from trainers.encoder.gradient_cache import Contrast
from trainers.encoder.trainer import EncoderTrainer, scalar

ROWS, EVALUATED = 29, 13  # 24 rows are an update; of the 5 that are left, 4 processes get 3, 2, 0 and 0
SIZES = {2: ((3, 3), (4, 2)), 4: ((2, 1), (3, 1), (1, 1), (2, 1))}  # 12 rows, in micro-batches of each process


RUNS: dict[str, dict] = {
    "whole update": {},
    "contrasts of 12": {"contrastive_batch_size": 12},
    "frozen images": {"contrastive_batch_size": 12, "frozen": "vision_model"},
}


class KeepGradients(TrainerCallback):
    """The gradient of every update, as the optimizer gets it."""

    def __init__(self) -> None:
        self.kept: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        learning = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.kept.append({name: parameter.grad.clone() for name, parameter in learning})


def trainer_run(folder: str, processes: int, resume: str | None = None, frozen: str = "", **flags: Any) -> dict:
    """Gradients and log of two epochs of updates of 24 rows, and the evaluation afterwards."""
    model = small_model()
    if frozen:
        getattr(model, frozen).requires_grad_(False)
    settings = {"learning_rate": 1e-2, "warmup_steps": 0, "num_train_epochs": 2, "max_grad_norm": 1e6, "seed": 3}
    settings |= {"logging_steps": 1, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 9}
    trainer = EncoderTrainer(
        model=model,
        args=EncoderTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=3,
            per_device_eval_batch_size=2,
            gradient_accumulation_steps=8 // processes,
            eval_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            report_to="none",
            ddp_backend="gloo" if dist.is_initialized() else None,
            **settings,
            **flags,
        ),
        data_collator=stack,
        train_dataset=small_pairs(ROWS),
        eval_dataset=small_pairs(EVALUATED, seed=1),
    )
    keep = KeepGradients()
    trainer.add_callback(keep)
    trainer.train(resume_from_checkpoint=resume)
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {"gradients": keep.kept, "log": log, "evaluation": trainer.evaluate()}


def refusal(folder: str, processes: int) -> str:
    """What is said of batches that differ between processes."""
    try:
        trainer_run(folder, processes, accelerator_config={"even_batches": False})
    except InputError as error:
        return str(error)
    return ""


def apart(folder: str) -> str:
    """What is said where Trainer would not notice the other processes, as it does without a GPU and `--use_cpu`."""
    try:
        EncoderTrainingArguments(output_dir=folder)
    except ValueError as error:
        return str(error)
    return ""


def local_loss_gradients(rank: int, processes: int) -> dict[str, torch.Tensor]:
    """What SiglipModel's own loss gives: each process compares its rows with its rows, DDP takes the mean."""
    model = small_model(positives="pair")
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    size = 12 // processes
    wrapped(**stack(small_pairs(12)[rank * size : (rank + 1) * size]), return_loss=True).loss.backward()
    return gradients(model)


def sharded_gradients(rank: int, processes: int) -> dict[str, torch.Tensor]:
    """A contrast of uneven micro-batches, the model's weights split among the processes (FSDP 2)."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = small_model()
    mesh = init_device_mesh("cpu", (processes,))
    for tower in (model.vision_model, model.text_model):
        for layer in tower.encoder.layers:
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    start = sum(sum(sizes) for sizes in SIZES[processes][:rank])
    batches = split(small_pairs(12)[start:], SIZES[processes][rank])
    contrast = Contrast(
        batches,
        lambda inputs: model(**inputs, return_logits=False),
        lambda *embeds, **ids: embedding_loss(model.config, *embeds, **ids),
        trainable={"image", "text"},
        device=torch.device("cpu"),
    )
    contrast.compute()
    assert scalar(model.logit_bias) == -1.0
    for step in range(len(batches)):
        model.set_requires_gradient_sync(step == len(batches) - 1)
        contrast.surrogate(step).backward()
    return {name: parameter.grad.full_tensor() for name, parameter in model.named_parameters()}


def main(output: Path) -> None:
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    found = {
        "local": local_loss_gradients(rank, processes),
        "sharded": sharded_gradients(rank, processes),
        "refused": refusal(str(output / "refused"), processes),
    } | {name: trainer_run(str(output / name), processes, **flags) for name, flags in RUNS.items()}
    checkpoint = str(output / "whole update" / "checkpoint-1")
    found["resumed"] = trainer_run(str(output / "resumed"), processes, resume=checkpoint)
    found["apart"] = apart(str(output / "apart"))
    if rank == 0:
        torch.save(found, output / "found.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
