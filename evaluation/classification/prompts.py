"""Describes classes in several English and Chinese sentences, from which a zero-shot classifier knows them.

A source that is not in the table is described by the names of its classes, in English only.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.classification.labels import Labels, most_frequent

LANGUAGES = ("en", "zh")
# What a class is called: by source and class, in English and in Chinese.
CLASS_NAMES: dict[str, dict[str, tuple[str, str]]] = {
    "knee_xray": {
        "Normal": ("no osteoarthritis, Kellgren-Lawrence grade 0", "无骨关节炎，Kellgren-Lawrence 0级"),
        "Doubtful": ("doubtful osteoarthritis, Kellgren-Lawrence grade 1", "可疑骨关节炎，Kellgren-Lawrence 1级"),
        "Mild": ("mild osteoarthritis, Kellgren-Lawrence grade 2", "轻度骨关节炎，Kellgren-Lawrence 2级"),
        "Moderate": ("moderate osteoarthritis, Kellgren-Lawrence grade 3", "中度骨关节炎，Kellgren-Lawrence 3级"),
        "Severe": ("severe osteoarthritis, Kellgren-Lawrence grade 4", "重度骨关节炎，Kellgren-Lawrence 4级"),
    },
    "pad_ufes_20": {
        "actinic keratosis": ("actinic keratosis", "光化性角化病"),
        "basal cell carcinoma": ("basal cell carcinoma", "基底细胞癌"),
        "melanoma": ("melanoma", "黑色素瘤"),
        "nevus": ("a nevus", "色素痣"),
        "squamous cell carcinoma": ("squamous cell carcinoma", "鳞状细胞癌"),
        "seborrheic keratosis": ("seborrheic keratosis", "脂溢性角化病"),
    },
}
# `modality` and `body_part` are those of most images of the source; a sentence that lacks one of them is left out.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "en": (
        "{name}",
        "A medical image that shows {name}.",
        "Findings: {name}.",
        "{modality}: {name}.",
        "{modality}, {body_part}: {name}.",
        "This {modality} shows {name}.",
    ),
    "zh": (
        "{name}",
        "医学图像，显示{name}。",
        "所见：{name}。",
        "{modality}：{name}。",
        "{body_part}{modality}：{name}。",
    ),
}
CHINESE = {
    "X-ray": "X光片", "CT": "CT图像", "MRI": "MRI图像", "ultrasound": "超声图像", "clinical photograph": "临床照片",
    "knee": "膝关节", "skin": "皮肤", "chest": "胸部", "lung": "肺部", "brain": "脑部", "head": "头部",
    "abdomen": "腹部",
}  # fmt: skip


def class_prompts(labels: Labels, language: str) -> tuple[list[str], list[int]] | None:
    """Returns the prompts of all classes of a source, and the class of each prompt.

    Args:
        labels: the images of the source, whose modality and body part the prompts name.
        language: `en` or `zh`.

    Returns:
        None if a class has no name in this language.
    """
    names = [class_name(labels.source, name, language) for name in labels.classes]
    if not all(names):
        return None
    words = {"modality": most_frequent(labels.modalities), "body_part": most_frequent(labels.body_parts)}
    if language == "zh":
        words = {key: CHINESE.get(value, "") for key, value in words.items()}
    texts, numbers = [], []
    for number, name in enumerate(names):
        for text in sentences(language, {"name": name, **words}):
            texts.append(text)
            numbers.append(number)
    return texts, numbers


def sentences(language: str, words: dict[str, str]) -> Sequence[str]:
    """Fills the templates whose words are all known."""
    known = [t for t in TEMPLATES[language] if all(words[key] for key in words if f"{{{key}}}" in t)]
    # Not `str.format`: a class may be called "{modality}".
    filled = []
    for template in known:
        parts = template.split("{name}")
        for key in ("modality", "body_part"):
            parts = [part.replace(f"{{{key}}}", words[key]) for part in parts]
        filled.append(words["name"].join(parts))
    return filled


def class_name(source: str, name: str, language: str) -> str:
    """Returns what a class is called in a language; "" if that is not known."""
    known = CLASS_NAMES.get(source, {}).get(name)
    if known:
        return known[LANGUAGES.index(language)]
    return name.replace("_", " ").strip() if language == "en" else ""
