"""Saves a probe as an image classifier: the encoder's image tower with the probe as its last layer.

    transformers.pipeline("image-classification", FOLDER)

`SiglipForImageClassification` has its layer on the mean of the tower's last states. The probe was fitted on these, and
the scaling of the features is folded into its weights, so the classifier's logits are those of the probe.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evaluation.classification.probes import Probe


def save_head(folder: Path, model: str, revision: str | None, probe: Probe, classes: Sequence[str]) -> None:
    """Writes a `SiglipForImageClassification` with its image processor, as safetensors.

    The folder is written beside its place and then renamed, so that it is never there in part.

    Args:
        folder: the folder to write; an existing classifier in it is replaced.
        model: folder or repository of the SigLIP whose embeddings the probe was fitted on.
        revision: commit of the repository.
        probe: fitted on the mean of the patches.
        classes: [C] names of all classes; those that the probe never saw are left out of the classifier.

    Raises:
        ValueError: the width of the tower is not that of the probe, or the folder holds something else.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModel, SiglipConfig, SiglipForImageClassification

    if folder.exists() and not (folder / "config.json").is_file() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds files that are not a classifier. Give another folder.")
    settings = {"revision": revision, "trust_remote_code": False}
    encoder = AutoModel.from_pretrained(model, use_safetensors=True, dtype=torch.float32, **settings)
    width = encoder.config.vision_config.hidden_size
    if probe.weights.shape[1] != width:
        raise ValueError(f"the tower of {model} is {width} wide, and the probe takes {probe.weights.shape[1]}")
    names = [classes[number] for number in probe.classes]
    config = SiglipConfig(
        text_config=encoder.config.text_config.to_dict(),
        vision_config=encoder.config.vision_config.to_dict(),
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    classifier = SiglipForImageClassification(config).eval()
    classifier.vision_model.load_state_dict(encoder.vision_model.state_dict())
    with torch.no_grad():
        classifier.classifier.weight.copy_(torch.from_numpy(probe.weights))
        classifier.classifier.bias.copy_(torch.from_numpy(probe.biases))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        written = Path(scratch) / folder.name
        classifier.save_pretrained(written)
        AutoImageProcessor.from_pretrained(model, **settings).save_pretrained(written)
        if folder.exists():
            shutil.rmtree(folder)
        written.rename(folder)
