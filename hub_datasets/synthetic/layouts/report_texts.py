"""Describes the findings of a chest radiograph in an English or Chinese report, in varying words.

A report states every finding that is drawn and denies some of the others. Sides are the patient's.
"""

from __future__ import annotations

import numpy as np

from hub_datasets.synthetic.drawings.chest import ChestFindings

# The diameters of `chest.NODULE_RADIUS` if the radiograph is 350 mm wide.
NODULES = {"small": "20 mm nodule", "medium": "28 mm nodule", "large": "42 mm mass"}
NODULES_ZH = {"small": "直径约20毫米的结节影", "medium": "直径约28毫米的结节影", "large": "直径约42毫米的肿块影"}
SIDE_ZH = {"left": "左", "right": "右"}
ZONE_ZH = {"upper": "上", "middle": "中", "lower": "下"}
AMOUNT_ZH = {"small": "少量", "moderate": "中等量", "large": "大量"}

OPENINGS = {
    "en": ("", "", "Frontal chest radiograph. ", "PA view of the chest. ", "FINDINGS: ", "Chest X-ray, one view. "),
    "zh": ("", "胸部正位片：", "胸部X线正位片示", "影像所见："),
}
EFFUSION = {
    "en": (
        "There is a {amount} {side} pleural effusion.",
        "{Amount} {side}-sided pleural effusion with blunting of the costophrenic angle.",
        "A {amount} amount of fluid is seen in the {side} pleural space.",
    ),
    "zh": (
        "{side}侧胸腔{amount}积液。",
        "{side}侧肋膈角消失，可见{amount}胸腔积液。",
        "{side}侧可见{amount}胸腔积液影。",
    ),
}
NODULE = {
    "en": (
        "A {nodule} projects over the {side} {zone} lung zone.",
        "There is a {nodule} in the {side} {zone} zone.",
        "In the {side} {zone} lung zone there is a well-defined {nodule}.",
    ),
    "zh": ("{side}肺{zone}野见一{nodule}。", "{side}肺{zone}野可见{nodule}，边界清楚。"),
}
PNEUMOTHORAX = {
    "en": (
        "{Side} pneumothorax with a visible pleural line.",
        "There is a {side}-sided pneumothorax; the lung has drawn back from the chest wall.",
        "Pneumothorax on the {side}.",
    ),
    "zh": ("{side}侧气胸，可见脏层胸膜线。", "{side}侧胸腔内见无肺纹理透亮区，提示气胸。"),
}
PNEUMONIA = {
    "en": (
        "Patchy consolidation in the {side} {zone} lung, consistent with pneumonia.",
        "There is airspace opacity in the {side} {zone} zone, likely pneumonia.",
        "{Side} {zone} zone pneumonia.",
    ),
    "zh": ("{side}肺{zone}野见片状实变影，考虑肺炎。", "{side}肺{zone}野可见斑片状高密度影，符合肺炎表现。"),
}
HEART = {
    "en": {
        "mild": ("The heart is mildly enlarged.", "Mild cardiomegaly.", "Mild enlargement of the cardiac silhouette."),
        "marked": ("The heart is markedly enlarged.", "Marked cardiomegaly.", "Marked enlargement of the heart."),
        "": ("The heart is normal in size.", "Cardiac silhouette within normal limits.", "Heart size is normal."),
    },
    "zh": {
        "mild": ("心影轻度增大。", "心脏轻度扩大。"),
        "marked": ("心影明显增大。", "心脏明显扩大。"),
        "": ("心影大小正常。", "心脏大小形态正常。"),
    },
}
PACEMAKER = {
    "en": (
        "A left-sided pacemaker is in place with its lead in the heart.",
        "Pacemaker over the left chest, lead tip in the right ventricle.",
    ),
    "zh": ("左侧胸壁可见心脏起搏器，导线进入右心室。", "可见左胸壁起搏器影及其导线。"),
}
DENIALS = {
    "en": {
        "effusion": ("No pleural effusion.", "The costophrenic angles are sharp."),
        "pneumothorax": ("No pneumothorax.", "There is no pneumothorax."),
        "lungs": ("No focal lung lesion.", "No nodule or consolidation."),
        "clear": ("The lungs are clear.", "Both lungs are clear and well aerated."),
    },
    "zh": {
        "effusion": ("未见胸腔积液。", "双侧肋膈角锐利。"),
        "pneumothorax": ("未见气胸。", "未见气胸征象。"),
        "lungs": ("双肺未见结节及实变。", "肺野内未见明确占位。"),
        "clear": ("双肺野清晰。", "双肺纹理清晰，未见实变影。"),
    },
}


def describe(rng: np.random.Generator, findings: ChestFindings, language: str) -> str:
    """Return one report. Another call with the same findings can use other words.

    Args:
        language: "en" or "zh".
    """

    def phrase(wordings: tuple[str, ...], **words: str) -> str:
        words |= {key.title(): word.capitalize() for key, word in words.items()}
        return wordings[int(rng.integers(len(wordings)))].format(**words)

    zh = language == "zh"

    def name_side(side: str) -> str:
        return SIDE_ZH[side] if zh else side

    def name_zone(zone: str) -> str:
        return ZONE_ZH[zone] if zh else zone

    found = [
        phrase(EFFUSION[language], side=name_side(side), amount=AMOUNT_ZH[amount] if zh else amount)
        for side, amount in findings.effusions
    ]
    for side, zone, extent in findings.nodules:
        nodule = (NODULES_ZH if zh else NODULES)[extent]
        found.append(phrase(NODULE[language], side=name_side(side), zone=name_zone(zone), nodule=nodule))
    if findings.pneumothorax:
        found.append(phrase(PNEUMOTHORAX[language], side=name_side(findings.pneumothorax)))
    for side, zone in findings.consolidations:
        found.append(phrase(PNEUMONIA[language], side=name_side(side), zone=name_zone(zone)))
    if findings.cardiomegaly:
        found.append(phrase(HEART[language][findings.cardiomegaly]))
    if findings.pacemaker:
        found.append(phrase(PACEMAKER[language]))
    found = [found[i] for i in rng.permutation(len(found))]

    denials = DENIALS[language]
    in_lung = findings.effusions or findings.nodules or findings.pneumothorax or findings.consolidations
    denied = [] if findings.cardiomegaly else [phrase(HEART[language][""])]
    if not findings.effusions:
        denied.append(phrase(denials["effusion"]))
    if not findings.pneumothorax:
        denied.append(phrase(denials["pneumothorax"]))
    if not in_lung:
        denied.append(phrase(denials["clear"]))
    elif not findings.nodules and not findings.consolidations:
        denied.append(phrase(denials["lungs"]))
    keep = 1 + int(rng.integers(len(denied))) if found else len(denied)
    denied = [denied[i] for i in rng.permutation(len(denied))[:keep]]
    return phrase(OPENINGS[language]) + ("" if zh else " ").join(found + denied)


def describe_at_length(rng: np.random.Generator, language: str, length: int) -> str:
    """Return a report of exactly `length` characters, made of many repeated sentences."""
    text = ""
    while len(text) < length:
        text += describe(rng, ChestFindings(), language)
    return text[: length - 1] + ("。" if language == "zh" else ".")
