"""Computes the embeddings of a frozen tower once and trains on the stored values.

A frozen tower gives each image, or text, the same embedding in every epoch and evaluation (LiT, Zhai et al., 2022,
arXiv:2111.07991). Each distinct input is embedded before the training. From then on a batch holds `image_embeds`
instead of `pixel_values`, or `text_embeds` instead of `input_ids`, and neither decoding nor that tower costs anything.
If both towers are frozen, only temperature and bias are trained.

With an image cache the embeddings are stored beside the pixels, in a file named by a hash of the tower's weights and of
every other setting that affects them; the next run reads that file.
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

# Version of the file format. It is part of the file names: a new version computes all embeddings again.
VERSION = 1
MODULES = {"image": "vision_model", "text": "text_model"}
FLAG = "--cache_frozen_tower"


class TowerEmbeddings:
    """The embeddings of a split's images, or texts, by row.

    It can be pickled and forked: other processes receive the path of the file, if there is one, not the table.

    Args:
        slots: `[rows]`, the index in `table` of each row's image or text.
        table: `[distinct, D]` float32, of unit length.
        ids: `[distinct]` int64, the `content_id` of each image or text.
        file: the file of the table; None if it is in memory only.
    """

    def __init__(self, slots: np.ndarray, table: np.ndarray, ids: np.ndarray, file: Path | None) -> None:
        self.slots, self.ids, self.file = slots, ids, file
        self.table: np.ndarray | None = table if file is None else None

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        """Returns the embedding `[D]` float32 and the `content_id` of a row."""
        if self.table is None:
            self.table = np.load(self.file, mmap_mode="r")
        slot = self.slots[row]
        return np.array(self.table[slot]), int(self.ids[slot])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | ({} if self.file is None else {"table": None})


class EmbeddedRows(torch.utils.data.Dataset):
    """EncoderRows with stored embeddings instead of the inputs of one tower or both; see EmbeddedCollator."""

    def __init__(self, rows: EncoderRows, embeddings: dict[str, TowerEmbeddings]) -> None:
        self.rows, self.embeddings = rows, embeddings

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int | str) -> Any:
        """Returns a row by its number, or a column by its name."""
        return self.rows[row] if isinstance(row, str) else self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[dict]:
        """Returns rows as EncoderRows does; `image_embeds` `[D]` replaces `pixels`, `text_embeds` `[D]` is added."""
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
    """Collates EmbeddedRows; an EncoderCollator prepares the inputs of a tower that is not frozen.

    Rows of other datasets go through the EncoderCollator unchanged.
    """

    def __init__(self, collator: Any) -> None:
        self.collator = collator
        self.normalization = collator.normalization  # EncoderTrainer reads it

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """Collates N rows: `image_embeds` and `text_embeds` `[N, D]` where given, else as the EncoderCollator."""
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
    """Embeds the inputs of frozen towers and makes a trainer read the embeddings; without such a tower does nothing.

    Args:
        trainer: an EncoderTrainer with EncoderRows and an EncoderCollator; changed in place.
        arguments: EncoderArguments.

    Raises:
        InputError: `--cache_frozen_tower` was given and cannot be applied.
    """
    towers = cacheable_towers(trainer, arguments)
    if not towers:
        return
    digests = {tower: weights_digest(trainer.model, tower) for tower in towers}
    for name in ("train_dataset", "eval_dataset"):
        if (rows := getattr(trainer, name)) is not None:
            embeddings = {tower: load_or_compute_embeddings(trainer, rows, tower, digests[tower]) for tower in towers}
            setattr(trainer, name, EmbeddedRows(rows, embeddings))
    trainer.data_collator = EmbeddedCollator(trainer.data_collator)
    trainer.cached_towers = digests


def cacheable_towers(trainer: Any, arguments: Any) -> list[str]:
    """Returns the towers, `image` or `text`, whose embeddings never change during this training."""
    from trainers.encoder.tuning import trainable_towers

    frozen = [tower for tower in MODULES if tower not in trainable_towers(trainer.model)]
    if arguments.cache_frozen_tower is False or not frozen:
        return []
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        # Processes other than the first may start without the weights.
        if arguments.cache_frozen_tower:
            raise InputError(f"{FLAG} cannot be combined with FSDP or DeepSpeed. Remove it, or use DDP")
        return []
    augmented = getattr(trainer.train_dataset, "augmentation", None) is not None
    sampled = getattr(trainer.train_dataset, "text_of", None) is not None  # --sentence_sampling
    return [tower for tower in frozen if not (augmented if tower == "image" else sampled)]


def check_frozen_towers(model: torch.nn.Module, digests: dict[str, str], checkpoint: str) -> None:
    """Raises InputError if a frozen tower has other weights than those that the embeddings were computed with."""
    for tower, digest in digests.items():
        if weights_digest(model, tower) != digest:
            raise InputError(
                f"--resume_from_checkpoint {checkpoint}: its frozen {MODULES[tower].split('_')[0]} tower differs from "
                f"that of --model_name_or_path. Use the model that the run started from, or {FLAG} False"
            )


# --- computing the embeddings ---


def load_or_compute_embeddings(trainer: Any, rows: EncoderRows, tower: str, digest: str) -> TowerEmbeddings:
    """Returns the embeddings of a split, from the file of an earlier run or computed by all processes together.

    Args:
        trainer: an EncoderTrainer.
        tower: `image` or `text`.
        digest: hash of the tower's weights.
    """
    slots, first_rows, inputs_of, content = (image_inputs if tower == "image" else text_inputs)(trainer, rows)
    file = None
    if rows.cached is not None:
        settings = {"weights": digest, "content": content, **embedding_settings(trainer, tower)}
        key = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16).hexdigest()
        file = rows.cached.folder / f"{tower}-{key}.npy"
    found = None if file is None else read_embeddings(file, len(first_rows))
    # Computing is collective: if one process has no valid file, for example on another machine, all compute.
    have = gather_counts([int(found is not None)], trainer.args.device)
    if found is None or not all(count for (count,) in have):
        table, ids = compute_embeddings(trainer, first_rows, inputs_of, tower)
        written = file is not None and write_embeddings(file, table, ids)
        return TowerEmbeddings(slots, table, ids, file if written else None)
    return TowerEmbeddings(slots, *found, file)


Inputs = tuple[np.ndarray, np.ndarray, Callable[[list[int]], tuple[dict[str, torch.Tensor], list[int]]], str]


def image_inputs(trainer: Any, rows: EncoderRows) -> Inputs:
    """Finds the distinct images of a split.

    Returns:
        `[rows]`, the number of each row's image; `[distinct]`, the first row of each image; a function from row numbers
        to the tower's inputs and the content ids; and a description of everything else that affects the inputs.
    """
    _, first_rows, slots = np.unique(rows.image_groups(), return_index=True, return_inverse=True)

    def inputs_of(chosen: list[int]) -> tuple[dict[str, torch.Tensor], list[int]]:
        items = rows.__getitems__(chosen)
        batch = trainer.data_collator(items)
        return {"pixel_values": batch["pixel_values"]}, [item["image_id"] for item in items]

    # The images and how they are decoded are part of the name of the image cache, where the file is stored.
    return slots.reshape(-1), first_rows, inputs_of, repr(trainer.data_collator.normalization)


def text_inputs(trainer: Any, rows: EncoderRows) -> Inputs:
    """Finds the distinct texts of a split; returns the same as `image_inputs`."""
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
def compute_embeddings(
    trainer: Any, first_rows: np.ndarray, inputs_of: Callable, tower: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the embeddings `[distinct, D]` float32 and the ids `[distinct]`; each process computes a part of them."""
    from tqdm import tqdm

    device, size = trainer.args.device, trainer.args.per_device_eval_batch_size
    parts = np.array_split(first_rows, world_size())
    model = trainer.model.eval()
    width = model.config.truncate_dim or model.config.text_config.projection_size
    # Empty tensors first, because a process may have no input at all.
    embeds, ids = [torch.zeros(0, width)], [torch.zeros(0, dtype=torch.int64)]
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
    """Returns a hash of all weights of a tower, on any device."""
    digest = xxhash.xxh3_128()
    for name, values in sorted(getattr(model, MODULES[tower]).state_dict().items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        # As bytes: NumPy has no bfloat16.
        digest.update(values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def embedding_settings(trainer: Any, tower: str) -> dict[str, Any]:
    """Returns all settings besides weights and inputs that affect an embedding."""
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


# --- storing the embeddings ---


def read_embeddings(file: Path, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the table `[count, D]` and the ids `[count]` of a file; None if it is missing or damaged."""
    try:
        expected = file.with_suffix(".sum").read_text(encoding="ascii")
        table, ids = np.load(file, mmap_mode="r"), np.load(file.with_suffix(".ids.npy"))
    except (OSError, ValueError, EOFError):
        return None
    return (table, ids) if len(table) == len(ids) == count and embeddings_checksum(table, ids) == expected else None


def write_embeddings(file: Path, table: np.ndarray, ids: np.ndarray) -> bool:
    """Writes the files for the next run in the first process of each machine; returns whether this process did."""
    if int(os.environ.get("LOCAL_RANK", 0)):
        return False
    try:
        for path, values in ((file, table), (file.with_suffix(".ids.npy"), ids)):
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            with part.open("wb") as stream:
                np.save(stream, values)
            part.replace(path)
        # Last: the checksum marks the other two files as complete.
        file.with_suffix(".sum").write_text(embeddings_checksum(table, ids), encoding="ascii")
    except OSError as error:
        print(f"{FLAG}: cannot write to {file.parent} ({error.strerror}); the embeddings are kept in memory only")
        return False
    return True


def embeddings_checksum(table: np.ndarray, ids: np.ndarray) -> str:
    """Returns a hash of table and ids."""
    digest = xxhash.xxh3_128(np.ascontiguousarray(table))
    digest.update(np.ascontiguousarray(ids))
    return digest.hexdigest()
