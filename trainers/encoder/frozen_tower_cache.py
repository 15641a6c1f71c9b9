"""Why embed the same image with the same weights twice? The embeddings of a frozen tower are made once and kept.

A tower that does not learn gives every image, or text, the same embedding in every epoch and at every evaluation (LiT,
Zhai et al., 2022, arXiv:2111.07991). Each distinct one is embedded before the training; from then on a batch holds
`image_embeds` in the place of `pixel_values`, or `text_embeds` in that of `input_ids`, and neither decoding nor that
tower costs anything. With both towers frozen only temperature and bias are left to fit.

Where there is an image cache the embeddings are kept beside the pixels, in a file named by a hash of the tower's
weights and of everything else that decides them, and read from there by the next run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash

from evaluation.loading import InputError
from evaluation.scoring.encoder import content_id
from trainers.base.distributed import gather, gather_counts, rank, world_size
from trainers.encoder.data.dataset import EncoderRows

VERSION = 1  # of the files; another makes every one anew
MODULES = {"image": "vision_model", "text": "text_model"}
FLAG = "--cache_frozen_tower"


class TowerEmbeddings:
    """What a tower has made of each row of a split.

    Pickles and forks well: what is sent to another process is the path, where there is one.

    Args:
        slots: `[rows]`, which of the distinct images, or texts, a row has.
        table: `[distinct, D]` float32, of unit length.
        ids: `[distinct]` int64, their `content_id`.
        file: where the table lies; None: only in memory.
    """

    def __init__(self, slots: np.ndarray, table: np.ndarray, ids: np.ndarray, file: Path | None) -> None:
        self.slots, self.ids, self.file = slots, ids, file
        self.table: np.ndarray | None = table if file is None else None

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        """(`[D]` float32, the `content_id`) of a row."""
        if self.table is None:
            self.table = np.load(self.file, mmap_mode="r")
        slot = self.slots[row]
        return np.array(self.table[slot]), int(self.ids[slot])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | ({} if self.file is None else {"table": None})


class EmbeddedRows(torch.utils.data.Dataset):
    """EncoderRows of which one tower, or both, need nothing any more; see EmbeddedCollator."""

    def __init__(self, rows: EncoderRows, embeddings: dict[str, TowerEmbeddings]) -> None:
        self.rows, self.embeddings = rows, embeddings

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int | str) -> Any:
        """A row; for the name of a column that column."""
        return self.rows[row] if isinstance(row, str) else self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[dict]:
        """As of EncoderRows, with `image_embeds` in the place of `pixels`, and `text_embeds` beside `text`."""
        if "image" in self.embeddings:
            items = [{"text": self.rows.text(row)} for row in rows]
            for item, row in zip(items, rows, strict=True):
                item["image_embeds"], item["image_id"] = self.embeddings["image"][row]
                item["group_id"] = content_id(item["text"])
        else:
            items = self.rows.__getitems__(rows)
        if "text" in self.embeddings:
            for item, row in zip(items, rows, strict=True):
                item["text_embeds"], _ = self.embeddings["text"][row]
        return items


class EmbeddedCollator:
    """Batches of EmbeddedRows, made by an EncoderCollator as far as a tower still needs its inputs.

    Rows of other datasets go through the EncoderCollator as they are.
    """

    def __init__(self, collator: Any) -> None:
        self.collator = collator
        self.normalization = collator.normalization  # which the trainer asks for

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        given = [f"{tower}_embeds" for tower in MODULES if f"{tower}_embeds" in rows[0]]
        batch = {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in given}
        if "image_embeds" not in batch:
            inputs = self.collator(rows)
            return batch | {
                name: inputs[name] for name in inputs if not given or name not in ("input_ids", "attention_mask")
            }
        if "text_embeds" not in batch:
            batch |= self.collator.tokenized([row["text"] for row in rows])
        return batch | {f"{name}s": torch.tensor([row[name] for row in rows]) for name in ("group_id", "image_id")}


def cache_frozen_towers(trainer: Any, arguments: Any) -> None:
    """Embeds what the frozen towers see, and lets a trainer read that; does nothing where there is no such tower.

    Args:
        trainer: an EncoderTrainer with EncoderRows and an EncoderCollator.
        arguments: EncoderArguments.

    Raises:
        InputError: `--cache_frozen_tower` is asked for where it cannot be.
    """
    towers = cacheable_towers(trainer, arguments)
    if not towers:
        return
    digests = {tower: weights_digest(trainer.model, tower) for tower in towers}
    for name in ("train_dataset", "eval_dataset"):
        if (rows := getattr(trainer, name)) is not None:
            embeddings = {tower: embeddings_of(trainer, rows, tower, digests[tower]) for tower in towers}
            setattr(trainer, name, EmbeddedRows(rows, embeddings))
    trainer.data_collator = EmbeddedCollator(trainer.data_collator)
    trainer.cached_towers = digests


def cacheable_towers(trainer: Any, arguments: Any) -> list[str]:
    """The towers, `image` or `text`, whose embeddings never change in this training."""
    from trainers.encoder.tuning import learning_towers

    frozen = [tower for tower in MODULES if tower not in learning_towers(trainer.model)]
    if arguments.cache_frozen_tower is False or not frozen:
        return []
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:  # processes may begin without the weights
        if arguments.cache_frozen_tower:
            raise InputError(f"{FLAG}: not with FSDP or DeepSpeed; leave it out, or use DDP")
        return []
    augmented = getattr(trainer.train_dataset, "augmentation", None) is not None
    sampled = getattr(trainer.train_dataset, "text_of", None) is not None  # other sentences in every epoch
    return [tower for tower in frozen if not (augmented if tower == "image" else sampled)]


def check_towers(model: torch.nn.Module, digests: dict[str, str], checkpoint: str) -> None:
    """Raises InputError where a frozen tower is no longer the one that made the embeddings."""
    for tower, digest in digests.items():
        if weights_digest(model, tower) != digest:
            raise InputError(
                f"--resume_from_checkpoint {checkpoint}: its frozen {MODULES[tower].split('_')[0]} tower is another "
                f"than that of --model_name_or_path; give the model that the run began with, or {FLAG} False"
            )


# --- making them ---


def embeddings_of(trainer: Any, rows: EncoderRows, tower: str, digest: str) -> TowerEmbeddings:
    """The embeddings of a split, from the file of an earlier run or made now; by all processes together.

    Args:
        digest: of the tower's weights.
    """
    slots, first_rows, inputs_of, content = (image_inputs if tower == "image" else text_inputs)(trainer, rows)
    file = None
    if rows.cached is not None:
        settings = {"weights": digest, "content": content, **decisive(trainer, tower)}
        key = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16).hexdigest()
        file = rows.cached.folder / f"{tower}-{key}.npy"
    found = None if file is None else opened(file, len(first_rows))
    have = gather_counts([int(found is not None)], trainer.args.device)
    if found is None or not all(count for (count,) in have):
        table, ids = embedded(trainer, first_rows, inputs_of, tower)
        kept = file is not None and keep(file, table, ids)
        return TowerEmbeddings(slots, table, ids, file if kept else None)
    return TowerEmbeddings(slots, *found, file)


Inputs = tuple[np.ndarray, np.ndarray, Callable[[list[int]], tuple[dict[str, torch.Tensor], list[int]]], str]


def image_inputs(trainer: Any, rows: EncoderRows) -> Inputs:
    """(slot of each row, first row of each slot, rows -> the tower's inputs and ids, hash of all else that counts)."""
    _, first_rows, slots = np.unique(rows.image_groups(), return_index=True, return_inverse=True)

    def inputs_of(chosen: list[int]) -> tuple[dict[str, torch.Tensor], list[int]]:
        items = rows.__getitems__(chosen)
        batch = trainer.data_collator(items)
        return {"pixel_values": batch["pixel_values"]}, [item["image_id"] for item in items]

    # the folder of the image cache is named by the images and by how they are decoded
    return slots.reshape(-1), first_rows, inputs_of, repr(trainer.data_collator.normalization)


def text_inputs(trainer: Any, rows: EncoderRows) -> Inputs:
    """As `image_inputs`."""
    _, first_rows, slots = np.unique(rows.text_groups(), return_index=True, return_inverse=True)

    def inputs_of(chosen: list[int]) -> tuple[dict[str, torch.Tensor], list[int]]:
        texts = [rows.texts[row].as_py() for row in chosen]
        return trainer.data_collator.tokenized(texts), [content_id(text) for text in texts]

    content = xxhash.xxh3_128()
    if rows.cached is not None:
        for start in range(0, len(first_rows), 1024):
            inputs, ids = inputs_of(first_rows[start : start + 1024].tolist())
            for name, values in sorted(inputs.items()):
                content.update(name.encode() + values.numpy().tobytes())
            content.update(np.array(ids).tobytes())
    return slots.reshape(-1), first_rows, inputs_of, content.hexdigest()


@torch.no_grad()
def embedded(trainer: Any, first_rows: np.ndarray, inputs_of: Callable, tower: str) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings `[distinct, D]` and ids `[distinct]`; every process makes its part of them."""
    from tqdm import tqdm

    device, size = trainer.args.device, trainer.args.per_device_eval_batch_size
    parts = np.array_split(first_rows, world_size())
    model = trainer.model.eval()
    width = model.config.truncate_dim or model.config.text_config.projection_size
    embeds, ids = [torch.zeros(0, width)], [torch.zeros(0, dtype=torch.int64)]  # a process may have none
    starts = range(0, len(parts[rank()]), size)
    kind = "images" if tower == "image" else "texts"
    for start in tqdm(starts, desc=f"Frozen tower, {kind}", unit=" batches", disable=trainer.args.disable_tqdm or None):
        inputs, own_ids = inputs_of(parts[rank()][start : start + size].tolist())
        with trainer.compute_loss_context_manager():
            outputs = trainer.embed(model, inputs)
        embeds.append(outputs[f"{tower}_embeds"].float().cpu())
        ids.append(torch.tensor(own_ids))
    sizes = [len(part) for part in parts]
    table, table_ids = (gather(torch.cat(own).to(device), sizes).cpu().numpy() for own in (embeds, ids))
    return table, table_ids


def weights_digest(model: torch.nn.Module, tower: str) -> str:
    """A hash of all weights of a tower, wherever they lie."""
    digest = xxhash.xxh3_128()
    for name, values in sorted(getattr(model, MODULES[tower]).state_dict().items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def decisive(trainer: Any, tower: str) -> dict[str, Any]:
    """What else than weights and inputs decides an embedding."""
    config = trainer.model.config
    own = config.vision_config if tower == "image" else config.text_config
    return {
        "version": VERSION,
        "tower": json.loads(own.to_json_string(use_diff=False)),
        "attention": own._attn_implementation,
        "truncate_dim": config.truncate_dim,
        "mask": config.text_attention_mask,
        "precision": [str(trainer.model.dtype), trainer.args.bf16, trainer.args.fp16],
        "device": [trainer.args.device.type, torch.__version__],
    }


# --- keeping them ---


def opened(file: Path, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The table and the ids of a file; None where it does not exist, or a disk has damaged it."""
    try:
        expected = file.with_suffix(".sum").read_text(encoding="ascii")
        table, ids = np.load(file, mmap_mode="r"), np.load(file.with_suffix(".ids.npy"))
    except (OSError, ValueError, EOFError):
        return None
    return (table, ids) if len(table) == len(ids) == count and checksum(table, ids) == expected else None


def keep(file: Path, table: np.ndarray, ids: np.ndarray) -> bool:
    """Writes a file for the next run, by the first process of each machine. Returns whether it can be read."""
    if int(os.environ.get("LOCAL_RANK", 0)):
        return False  # what this process has stays in its memory
    try:
        for path, values in ((file, table), (file.with_suffix(".ids.npy"), ids)):
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            with part.open("wb") as stream:
                np.save(stream, values)
            part.replace(path)
        file.with_suffix(".sum").write_text(checksum(table, ids), encoding="ascii")  # last: it says that all is there
    except OSError as error:
        print(f"{FLAG}: {file.parent} cannot be written ({error.strerror}); the embeddings stay in memory")
        return False
    return True


def checksum(table: np.ndarray, ids: np.ndarray) -> str:
    digest = xxhash.xxh3_128(np.ascontiguousarray(table))
    digest.update(np.ascontiguousarray(ids))
    return digest.hexdigest()
