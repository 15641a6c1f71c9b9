"""A SigLIP of a few thousand weights and random pairs for it, the same in every process that asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

SIDE, LENGTH, WORDS, WIDTH = 16, 8, 50, 32


def small_model(dtype: torch.dtype = torch.float64, attention_dropout: float = 0.0, **settings):
    """Two layers a tower, 32 wide."""
    from modeling.siglip_medical.configuration_siglip_medical import SiglipMedicalConfig
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel

    tower = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    tower |= {"attention_dropout": attention_dropout}
    ends = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1}
    config = SiglipMedicalConfig(
        text_config=tower | ends | {"vocab_size": WORDS, "max_position_embeddings": LENGTH},
        vision_config=tower | {"image_size": SIDE, "patch_size": 8},
        **settings,
    )
    torch.manual_seed(0)
    model = SiglipMedicalModel(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():  # away from the starting values, at which some gradients are zero
            parameter += 0.1 * torch.randn_like(parameter)
        model.logit_bias.fill_(-1.0)  # negatives matter as much as positives
    return model.to(dtype)


def small_pairs(count: int, texts: int = 7, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[dict]:
    """Rows with one of `texts` texts each, every ninth image a copy of the first."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randn(count, 3, SIDE, SIDE, generator=random, dtype=dtype)
    pixels[::9] = pixels[0].clone()
    vocabulary = torch.randint(2, WORDS, (texts, LENGTH), generator=random)
    chosen = torch.randint(texts, (count,), generator=random)
    return [
        {
            "pixel_values": pixels[row],
            "input_ids": vocabulary[chosen[row]],
            "group_ids": chosen[row],
            "image_ids": torch.tensor(0 if row % 9 == 0 else row),
        }
        for row in range(count)
    ]


def stack(rows: Sequence[dict]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def split(rows: Sequence[dict], sizes: Sequence[int]) -> list[dict[str, torch.Tensor]]:
    """Micro-batches of the given sizes."""
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return [stack(rows[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


def gradients(model) -> dict[str, torch.Tensor]:
    """Those of all parameters, and nothing left in them."""
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    model.zero_grad()
    return found


def relative_error(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The largest over all parameters, temperature and bias among them.

    In units of a parameter's gradient, or of a thousandth of the whole one: some, as of a key's bias, are zero.
    """
    assert found.keys() == expected.keys()
    whole = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    return max(
        ((found[name] - gradient).norm() / torch.maximum(gradient.norm(), 1e-3 * whole)).item()
        for name, gradient in expected.items()
    )
