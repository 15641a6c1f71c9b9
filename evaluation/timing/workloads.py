"""Defines what is timed: images and texts into embeddings, and questions about images into tokens.

Each workload is done in two ways: as `medpairs evaluate` does it, and by the plain loop of transformers, the control.
Both begin with PIL images and texts, on the same model, and end with the result on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

OURS, CONTROL = "medpairs", "transformers"
SIZE = (512, 384)  # pixels of an image before it is processed
TEXT = (
    "Chest radiograph. The heart is enlarged, and there is a small pleural effusion on the left side. No pneumothorax."
)
QUESTION = "Describe this medical image:"


def pictures(count: int) -> list[Any]:
    """Returns different images of seeded noise: equal ones would share their work in a decoder."""
    from PIL import Image

    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)) for _ in range(count)]


def encoder_workloads(model: Any, processor: Any, batch_size: int) -> dict[str, dict[str, Callable[[], Any]]]:
    """Returns the two ways to embed one batch of `images` and of `texts`; each returns [B, D] float32.

    Args:
        model: a SigLIP.
        processor: its processor.
        batch_size: images or texts per call.
    """
    from evaluation.models.encoders import dual_encoder

    embedder = dual_encoder(model, processor, "this model")
    images, texts = pictures(batch_size), [f"{number + 1}. {TEXT}" for number in range(batch_size)]

    @torch.no_grad()
    def plain_images() -> np.ndarray:
        inputs = processor(images=images, return_tensors="pt").to(model.device, model.dtype)
        return model.get_image_features(**inputs).pooler_output.float().cpu().numpy()

    @torch.no_grad()
    def plain_texts() -> np.ndarray:
        # Padded to 64 tokens, as SigLIP's documentation says.
        inputs = processor(text=texts, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
        return model.get_text_features(**inputs.to(model.device)).pooler_output.float().cpu().numpy()

    return {
        "images": {OURS: lambda: embedder.embed_images(images), CONTROL: plain_images},
        "texts": {OURS: lambda: embedder.embed_texts(texts), CONTROL: plain_texts},
    }


def plain_generation(model: Any, processor: Any, batch_size: int) -> Callable[[int], torch.Tensor]:
    """Returns the plain loop of transformers: generates exactly so many new tokens per question, `[B, tokens]`.

    Args:
        model: an Mllama that is not patched.
        processor: its processor.
        batch_size: questions per call, each about an image of its own.
    """
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": QUESTION}]}]
        for image in pictures(batch_size)
    ]

    def generate(new_tokens: int) -> torch.Tensor:
        inputs = processor.apply_chat_template(
            chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        inputs = {name: to_model(tensor, model) for name, tensor in inputs.items()}
        return generated(model, inputs, new_tokens)

    return generate


def our_generation(model: Any, processor: Any, batch_size: int) -> Callable[[int], torch.Tensor]:
    """Returns the same as `medpairs evaluate` generates. The model is patched from now on."""
    from evaluation.scoring.decoder import encode, prepare_for_scoring, to_conversation

    model = prepare_for_scoring(model)
    messages = [{"role": "user", "content": QUESTION}]
    rows = [{"messages": messages, "images": [image]} for image in pictures(batch_size)]

    def generate(new_tokens: int) -> torch.Tensor:
        inputs = encode(processor, [to_conversation(row) for row in rows], side="left", prompt=True)
        return generated(model, {name: to_model(tensor, model) for name, tensor in inputs.items()}, new_tokens)

    return generate


def generated(model: Any, inputs: dict[str, torch.Tensor], new_tokens: int) -> torch.Tensor:
    """Generates greedily, without ending early, so that all calls do the same work."""
    with torch.no_grad():
        tokens = model.generate(
            **inputs, max_new_tokens=new_tokens, min_new_tokens=new_tokens, do_sample=False, num_beams=1,
            temperature=None, top_p=None, top_k=None,
        )  # fmt: skip
    return tokens[:, inputs["input_ids"].shape[1] :].cpu()


def to_model(tensor: torch.Tensor, model: Any) -> torch.Tensor:
    """Moves a tensor to the device of the model, and numbers with a fraction to its precision."""
    return tensor.to(model.device, model.dtype) if tensor.is_floating_point() else tensor.to(model.device)


def parts_of_generation(first: Sequence[float], all_tokens: Sequence[float], new_tokens: int) -> list[float]:
    """Returns the seconds per further token of each round: what the tokens after the first one took, divided by them.

    Args:
        first: [N] seconds until one token is there.
        all_tokens: [N] seconds until `new_tokens` are there, of the same rounds.
        new_tokens: at least 2.
    """
    # On a busy machine a short call can take longer than a long one; the difference is then not a time.
    return [max(whole - one, 1e-9) / (new_tokens - 1) for one, whole in zip(first, all_tokens, strict=True)]
