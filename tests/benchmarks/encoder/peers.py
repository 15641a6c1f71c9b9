"""Runs the two baselines of the encoder's training, each in its own process.

    python tests/benchmarks/encoder/peers.py run_clip --dataset DATA --start START --output_dir OUT
    python tests/benchmarks/encoder/peers.py loop --dataset DATA --start START --output_dir OUT

`run_clip` does what transformers' `examples/pytorch/contrastive-image-text/run_clip.py` does, with SiglipModel; `loop`
is the specification's accumulation loop with its loss. Both write `checkpoint-N` after each epoch, with increasing N.
`start` writes the small random checkpoint that all runs start from; `score` prints the recalls of checkpoints.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

LENGTH = 64  # tokens to which SigLIP pads texts
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
ADAMW = {"weight_decay": 1e-4, "adam_beta1": 0.9, "adam_beta2": 0.95, "max_grad_norm": 1.0}  # the specification's
WARMUP = 0.1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("start", "run_clip", "loop", "score"))
    parser.add_argument("--dataset", required=True, help="folder of a build")
    parser.add_argument("--start", type=Path, help="initial checkpoint of all runs")
    parser.add_argument("--output_dir", type=Path)
    parser.add_argument("--checkpoints", nargs="+", help="folders to score")
    parser.add_argument("--image_size", type=int, default=64, help="pixels (default: %(default)s)")
    parser.add_argument("--logit_bias", type=float, default=-10.0, help="initial bias (default: %(default)s)")
    parser.add_argument("--num_train_epochs", type=int, default=2)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--save_strategy", choices=("epoch", "no"), default="epoch")
    parser.add_argument("--per_device_train_batch_size", type=int, default=8)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=8)
    options = parser.parse_args(argv)
    {"start": write_start, "run_clip": run_clip, "loop": accumulation_loop, "score": print_scores}[options.what](
        options
    )
    return 0


def pairs(options: argparse.Namespace, split: str = "train") -> Any:
    from datasets import load_dataset

    return load_dataset(options.dataset, "pairs", split=split)


def write_start(options: argparse.Namespace) -> None:
    """Writes a small random checkpoint as a stock SiglipModel with a stock processor."""
    from transformers import SiglipConfig, SiglipModel, SiglipProcessor

    from modeling.tiny_checkpoints import write_tiny_encoder

    with tempfile.TemporaryDirectory() as folder:
        write_tiny_encoder(Path(folder), pairs(options)["text"], seed=0, image_size=options.image_size)
        towers = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        config = SiglipConfig(text_config=towers["text_config"], vision_config=towers["vision_config"])
        model = SiglipModel.from_pretrained(folder, config=config)
        model.logit_bias.data.fill_(options.logit_bias)
        model.save_pretrained(options.start)
        SiglipProcessor.from_pretrained(folder).save_pretrained(options.start)


def run_clip(options: argparse.Namespace) -> None:
    """Trains SiglipModel with its own loss in the stock Trainer, following run_clip.py.

    https://github.com/huggingface/transformers/blob/main/examples/pytorch/contrastive-image-text/run_clip.py

    Differences: the stock image processor of SigLIP replaces the transforms of torchvision; there is no attention mask,
    because SigLIP's tokenizer returns none; the optimizer has the settings of the specification. To save time, the
    check of all images before the training and the evaluation after it are omitted.
    """
    import torch
    from transformers import AutoModel, AutoProcessor, Trainer, TrainingArguments, set_seed

    dataset = pairs(options)
    processor = AutoProcessor.from_pretrained(options.start)
    model = AutoModel.from_pretrained(options.start)
    set_seed(options.seed)

    def tokenize_captions(examples: dict) -> dict:
        settings = {"max_length": LENGTH, "padding": "max_length", "truncation": True}
        return {"input_ids": processor.tokenizer(examples["text"], **settings).input_ids}

    def transform_images(examples: dict) -> dict:
        images = [image.convert("RGB") for image in examples["image"]]
        return examples | {"pixel_values": list(processor.image_processor(images, return_tensors="pt").pixel_values)}

    def collate(examples: list[dict]) -> dict:
        return {
            "pixel_values": torch.stack([example["pixel_values"] for example in examples]),
            "input_ids": torch.tensor([example["input_ids"] for example in examples], dtype=torch.long),
            "return_loss": True,
        }

    others = [column for column in dataset.column_names if column != "image"]
    dataset = dataset.map(tokenize_captions, batched=True, remove_columns=others, load_from_cache_file=False)
    dataset.set_transform(transform_images)
    args = TrainingArguments(
        output_dir=str(options.output_dir),
        num_train_epochs=options.num_train_epochs,
        per_device_train_batch_size=options.per_device_train_batch_size,
        gradient_accumulation_steps=options.gradient_accumulation_steps,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=WARMUP,
        seed=options.seed,
        save_strategy=options.save_strategy,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **ADAMW,
    )
    data = {"train_dataset": dataset, "data_collator": collate}
    # The processor is given so that checkpoints are complete.
    trainer = Trainer(model=model, args=args, processing_class=processor, **data)
    trainer.train()
    trainer.save_model()


def accumulation_loop(options: argparse.Namespace) -> None:
    """Trains exactly as in the specification: its loop, its loss, its image and text preprocessing.

    The specification contradicts itself about the attention mask, which SigLIP's tokenizer does not return; the variant
    that trains better is used. The evaluation every 500 updates is omitted, because there are fewer updates.
    """
    import torch
    from torch.nn.functional import normalize
    from torch.utils.data import DataLoader
    from transformers import AutoModel, AutoProcessor, get_cosine_schedule_with_warmup, set_seed

    rows = pairs(options)
    processor = AutoProcessor.from_pretrained(options.start)
    processor.image_processor.image_mean, processor.image_processor.image_std = IMAGENET_MEAN, IMAGENET_STD
    model = AutoModel.from_pretrained(options.start)
    set_seed(options.seed)

    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
            image = processor.image_processor(rows[row]["image"].convert("RGB"), return_tensors="pt")
            text = " ".join(rows[row]["text"].split())
            settings = {"max_length": LENGTH, "padding": "max_length", "truncation": True}
            tokens = processor.tokenizer(text, return_tensors="pt", **settings)
            return {"pixel_values": image.pixel_values[0], "input_ids": tokens.input_ids[0]}

    class SigmoidContrastiveLoss(torch.nn.Module):
        def __init__(self, init_temperature: float = math.log(10), init_bias: float = -10.0) -> None:
            super().__init__()
            self.temperature = torch.nn.Parameter(torch.tensor(init_temperature))
            self.bias = torch.nn.Parameter(torch.tensor(init_bias))

        def forward(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
            logits = normalize(image_embeds, dim=-1) @ normalize(text_embeds, dim=-1).T  # [N, N]
            logits = logits * self.temperature.exp() + self.bias
            return -torch.log(torch.sigmoid(torch.diag(logits) - logits.logsumexp(dim=1))).mean()

    loader = DataLoader(Pairs(), options.per_device_train_batch_size, shuffle=True)
    criterion = SigmoidContrastiveLoss()
    parameters = [*model.parameters(), *criterion.parameters()]
    betas, accumulation = (ADAMW["adam_beta1"], ADAMW["adam_beta2"]), options.gradient_accumulation_steps
    optimizer = torch.optim.AdamW(parameters, options.learning_rate, betas, weight_decay=ADAMW["weight_decay"])
    updates = options.num_train_epochs * len(loader) // accumulation
    schedule = get_cosine_schedule_with_warmup(optimizer, math.ceil(WARMUP * updates), updates)

    model.train()
    step = 0
    for _ in range(options.num_train_epochs):
        for batch in loader:
            image_embeds = model.get_image_features(pixel_values=batch["pixel_values"]).pooler_output
            text_embeds = model.get_text_features(input_ids=batch["input_ids"]).pooler_output
            loss = criterion(image_embeds, text_embeds) / accumulation
            loss.backward()
            step += 1
            if step % accumulation == 0:
                torch.nn.utils.clip_grad_norm_(parameters, ADAMW["max_grad_norm"])
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
        with torch.no_grad():
            model.logit_scale.fill_(criterion.temperature.item())
            model.logit_bias.fill_(criterion.bias.item())
        if options.save_strategy == "epoch":
            checkpoint = options.output_dir / f"checkpoint-{step}"
            model.save_pretrained(checkpoint)
            processor.save_pretrained(checkpoint)


def print_scores(options: argparse.Namespace) -> None:
    """Scores checkpoints on the validation split like `run_evaluation.py`; prints one JSON object, by folder."""
    from transformers import AutoModel

    from evaluation.loading import load_model_and_processor
    from evaluation.models.encoders import dual_encoder
    from evaluation.scoring.encoder import embed_pairs, score_embeddings

    rows = pairs(options, "validation")
    scores = {}
    for checkpoint in options.checkpoints:
        model, processor = load_model_and_processor(checkpoint, AutoModel)
        embeds = embed_pairs(dual_encoder(model, processor, str(checkpoint)), rows, batch_size=16)
        scores[checkpoint] = score_embeddings(embeds, model.logit_scale.item(), model.logit_bias.item())
    print(json.dumps(scores))


if __name__ == "__main__":
    sys.exit(main())
