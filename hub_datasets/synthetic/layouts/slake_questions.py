"""Writes questions in the style of SLAKE, in English and in Chinese, with the answers for a drawn image.

Sides in the names of organs are the patient's: the patient's left lung is on the right of the image. Positions within
the image (`Upper Left`) are those of the image, as in the real questions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hub_datasets.synthetic.drawings.slice_page import Lesion

PARTS = {
    "Lung": "Chest",
    "Abdomen": "Abdomen",
    "Brain_Tissue": "Head",
    "Pelvic Cavity": "Pelvic Cavity",
    "Neck": "Neck",
}
CHINESE = {
    "Chest": "胸腔", "Abdomen": "腹部", "Head": "头部", "Pelvic Cavity": "盆腔", "Neck": "颈部",
    "Liver": "肝脏", "Spleen": "脾脏", "Stomach": "胃", "Kidney": "肾脏", "Left Kidney": "左肾", "Right Kidney": "右肾",
    "Colon": "结肠", "Small Bowel": "小肠", "Lung": "肺", "Left Lung": "左肺", "Right Lung": "右肺", "Heart": "心脏",
    "Brain": "大脑", "Bladder": "膀胱", "Rectum": "直肠", "Femoral Head": "股骨头", "Trachea": "气管",
    "Thyroid": "甲状腺", "Esophagus": "食道", "Lung Cancer": "肺癌", "Pneumonia": "肺炎",
    "Pleural Effusion": "胸腔积液", "Nodule": "结节",
    "Pneumothorax": "气胸", "Cardiomegaly": "心脏肥大", "Brain Tumor": "脑肿瘤", "Brain Edema": "脑水肿",
    "Liver Cancer": "肝癌", "Kidney Cancer": "肾癌", "Bladder Cancer": "膀胱癌", "Thyroid Nodule": "甲状腺结节",
    "Upper": "上部", "Lower": "下部", "Left": "左侧", "Right": "右侧", "Upper Left": "左上", "Upper Right": "右上",
    "Lower Left": "左下", "Lower Right": "右下", "Center": "中央", "Large": "大", "Small": "小", "None": "无",
    "Left Frontal Lobe": "左侧额叶", "Right Frontal Lobe": "右侧额叶", "Left Occipital Lobe": "左侧枕叶",
    "Right Occipital Lobe": "右侧枕叶", "Transverse Plane": "横断面", "Coronal Plane": "冠状面",
}  # fmt: skip
# The organs that questions can be about, whether or not they are in the image.
ASKED_ORGANS = (
    "Liver", "Spleen", "Stomach", "Kidney", "Colon", "Small Bowel", "Lung", "Heart", "Brain", "Bladder", "Rectum",
    "Thyroid", "Esophagus",
)  # fmt: skip
# The asked organs that an image of a location can show.
EXPECTED = {
    "Lung": ("Lung", "Heart"),
    "Abdomen": ("Liver", "Spleen", "Stomach", "Kidney", "Colon", "Small Bowel"),
    "Brain_Tissue": ("Brain",),
    "Pelvic Cavity": ("Bladder", "Rectum", "Small Bowel"),
    "Neck": ("Thyroid", "Esophagus"),
}
# From the English and the Chinese name of a body system to its organs.
SYSTEMS = {
    ("digestive system", "消化系统"): ("Liver", "Stomach", "Colon", "Small Bowel", "Rectum", "Esophagus"),
    ("respiratory system", "呼吸系统"): ("Lung", "Trachea"),
    ("urinary system", "泌尿系统"): ("Kidney", "Bladder"),
    ("nervous system", "神经系统"): ("Brain",),
}
# From a finding to the organ that it affects.
AFFECTED = {
    "Lung Cancer": "Lung", "Pneumonia": "Lung", "Pleural Effusion": "Lung", "Nodule": "Lung", "Pneumothorax": "Lung",
    "Cardiomegaly": "Heart", "Brain Tumor": "Brain", "Brain Edema": "Brain", "Liver Cancer": "Liver",
    "Kidney Cancer": "Kidney", "Bladder Cancer": "Bladder", "Thyroid Nodule": "Thyroid",
}  # fmt: skip
MAIN_ORGAN = {
    "Lung": "Lung",
    "Abdomen": "Liver",
    "Brain_Tissue": "Brain",
    "Pelvic Cavity": "Bladder",
    "Neck": "Thyroid",
}


@dataclass(frozen=True, slots=True)
class Case:
    """The content of one image.

    Attributes:
        location: body region as named in the dataset, a key of `PARTS`.
        contrast: CT, X-Ray, or the weighting of an MRI (T1, T2).
        organs: the organs that are drawn.
        finding: the finding, or None.
        areas: number of pixels of each region of the mask.
        centers: mean (x, y) of each organ as shares of the image's width and height.
    """

    location: str
    contrast: str
    organs: frozenset[str]
    finding: Lesion | None
    areas: dict[str, int]
    centers: dict[str, tuple[float, float]]

    @property
    def modality(self) -> str:
        """CT, X-Ray or MRI."""
        return self.contrast if self.contrast in ("CT", "X-Ray") else "MRI"

    def has(self, organ: str) -> bool:
        """Return whether the image shows the organ; of a pair, one side is sufficient."""
        return any(organ in (name, name.removeprefix("Left ").removeprefix("Right ")) for name in self.organs)

    def area(self, organ: str) -> int:
        """Return the number of pixels of the organ; both sides of a pair are added."""
        return sum(area for name, area in self.areas.items() if name in (organ, f"Left {organ}", f"Right {organ}"))


@dataclass(frozen=True, slots=True)
class _Question:
    """One question with its answer in both languages; answers without a Chinese name stay in English."""

    kind: str
    en: tuple[str, str]
    zh: tuple[str, str]
    closed: bool = False
    triple: tuple[str, str, str] = ("vhead", "_", "_")

    def to_row(self, language: str) -> dict:
        """Return the cells of the question in one language."""
        question, answer = self.en if language == "en" else self.zh
        return {
            "question": question,
            "answer": answer,
            "answer_type": "CLOSED" if self.closed else "OPEN",
            "base_type": "vqa" if self.triple[1] == "_" else "kvqa",
            "content_type": self.kind,
            "triple": list(self.triple),
        }


def ask(rng: np.random.Generator, case: Case, language: str) -> list[dict]:
    """Return 4 to 8 questions with answers: modality, body part, findings, organs, and a random choice of others."""
    always = [_ask_modality(rng, case), _ask_body_part(case), _ask_disease(case)]
    if case.finding:
        always.append(_ask_finding_position(case))
    always += _ask_organ_presence(rng, case)
    more: list[Callable[[np.random.Generator, Case], _Question | None]]
    more = [
        _ask_health,
        _ask_largest_organ,
        _ask_weighting,
        _ask_plane,
        _ask_organ_position,
        _ask_body_system,
        _ask_count,
        _ask_finding_size,
        _ask_smaller_organ,
    ]
    extra = [question for i in rng.permutation(len(more)) if (question := more[i](rng, case))]
    room = max(0, int(rng.integers(4, 9)) - len(always))
    return [question.to_row(language) for question in always + extra[:room]]


def _translate(name: str) -> str:
    """Return the Chinese name, or the name itself if it has none."""
    return CHINESE.get(name, name)


def _format_yes_no(true: bool) -> str:
    return "Yes" if true else "No"


def _choose(rng: np.random.Generator, *choices: str) -> str:
    return choices[int(rng.integers(len(choices)))]


def _ask_modality(rng, case: Case) -> _Question:
    if rng.random() < 0.75:
        zh = _choose(rng, "这张图片的成像方式是什么?", "什么样的成像方式被这张图片使用?")
        en = _choose(rng, "What modality is used to take this image?", "What modality is shown in this image?")
        return _Question("Modality", (en, case.modality), (zh, case.modality))
    asked = _choose(rng, "CT", "MRI", "X-Ray")
    zh_name = "X光" if asked == "X-Ray" else asked
    true = asked == case.modality
    en = (f"Is this image taken via {asked}?", _format_yes_no(true))
    return _Question("Modality", en, (f"这张图片的拍摄是通过{zh_name}吗?", "是的" if true else "不是"), True)


def _ask_body_part(case: Case) -> _Question:
    part = PARTS[case.location]
    en = "Which part of the body does this image belong to?"
    return _Question("Position", (en, part), ("图像里包含的区域属于身体哪个部分?", _translate(part)))


def _ask_organ_presence(rng, case: Case) -> list[_Question]:
    """Ask for one or two organs that this location can show, and sometimes for one that it cannot show."""
    expected = EXPECTED[case.location]
    organs = [expected[i] for i in rng.permutation(len(expected))[: 1 + int(rng.random() < 0.7)]]
    if len(expected) == 1 or rng.random() < 0.2:
        organs.append(_choose(rng, *(organ for organ in ASKED_ORGANS if organ not in expected)))
    chosen = [(organ, case.has(organ)) for organ in organs]
    return [
        _Question(
            "Organ",
            (f"Does the picture contain {organ.lower()}?", _format_yes_no(true)),
            (f"图片中包含{_translate(organ)}吗?", "包含" if true else "不包含"),
            True,
        )
        for organ, true in chosen
    ]


def _ask_disease(case: Case) -> _Question:
    name = case.finding.name if case.finding else "None"
    return _Question(
        "Abnormality", ("What diseases are included in the picture?", name), ("图片中包含哪些疾病?", _translate(name))
    )


def _ask_finding_position(case: Case) -> _Question:
    finding = case.finding
    end = finding.end.title()
    if finding.name in ("Brain Tumor", "Brain Edema"):
        en = f"{finding.side} {'Frontal' if finding.end == 'upper' else 'Occipital'} Lobe"
        zh = _translate(en)
    elif finding.name in ("Pneumothorax", "Pleural Effusion", "Kidney Cancer"):
        en = f"{finding.side} {AFFECTED[finding.name]}"
        zh = _translate(en)
    elif AFFECTED[finding.name] == "Lung":
        en, zh = f"{finding.side} Lung, {end}", f"{_translate(f'{finding.side} Lung')},{_translate(end)}"
    elif finding.name == "Liver Cancer":
        en, zh = f"Liver, {end}", f"肝脏,{_translate(end)}"
    elif finding.name == "Cardiomegaly":
        en, zh = "Heart", "心脏"
    else:
        organ = AFFECTED[finding.name]
        en, zh = f"{organ}, {finding.side}", f"{_translate(organ)},{_translate(finding.side)}"
    return _Question("Position", ("Where is/are the abnormality located?", en), ("异常病变在哪个位置?", zh))


def _ask_finding_size(rng, case: Case) -> _Question | None:
    radiograph = case.contrast == "X-Ray"
    if not case.finding or (radiograph and case.finding.name in ("Pneumonia", "Pneumothorax", "Cardiomegaly")):
        return None
    size = case.finding.extent.title()
    return _Question(
        "Size", ("Is the abnormality large or small?", size), ("图中的异常病变是大还是小?", _translate(size)), True
    )


def _ask_health(rng, case: Case) -> _Question | None:
    organ = AFFECTED[case.finding.name] if case.finding else MAIN_ORGAN[case.location]
    if rng.random() < 0.4 or not case.has(organ):
        sound = case.finding is None
        en = ("Are there abnormalities in this image?", _format_yes_no(not sound))
        return _Question("Abnormality", en, ("图片里是否存在异常?", "否" if sound else "是"), True)
    sound = case.finding is None
    en = (f"Is the {organ.lower()} healthy?", _format_yes_no(sound))
    return _Question("Abnormality", en, (f"{_translate(organ)}是健康的吗?", "是的" if sound else "不是"), True)


def _ask_largest_organ(rng, case: Case) -> _Question | None:
    sizes = sorted(((case.area(organ), organ) for organ in ASKED_ORGANS if case.has(organ)), reverse=True)
    if not sizes or (len(sizes) > 1 and sizes[0][0] < 1.25 * sizes[1][0]):  # too similar to compare
        return None
    organ = sizes[0][1]
    return _Question(
        "Size", ("What is the largest organ in the picture?", organ), ("图中最大的器官是什么?", _translate(organ))
    )


def _ask_smaller_organ(rng, case: Case) -> _Question | None:
    sizes = sorted(((case.area(organ), organ) for organ in ASKED_ORGANS if case.has(organ)), reverse=True)
    if len(sizes) < 3 or sizes[-2][0] < 1.3 * sizes[-1][0]:
        return None
    (_, larger), (_, smaller) = sizes[-2:]
    return _Question(
        "Size",
        (f"Which is smaller in this image,{larger.lower()} or {smaller.lower()}?", smaller),
        (f"在这个图像中{_translate(larger)}和{_translate(smaller)}哪个体积更小?", _translate(smaller)),
        True,
    )


def _ask_weighting(rng, case: Case) -> _Question | None:
    if case.modality != "MRI":
        return None
    en, zh = "What is the mr weighting in this image?", "这张MRI图片用的什么加权方式?"
    return _Question("Modality", (en, case.contrast), (zh, case.contrast))


def _ask_plane(rng, case: Case) -> _Question:
    radiograph = case.contrast == "X-Ray"
    if rng.random() < 0.5:
        plane = "Coronal Plane" if radiograph else "Transverse Plane"
        en = "What is the scanning plane of this image?"
        return _Question("Plane", (en, plane), ("这个图像的扫描平面是什么?", _translate(plane)))
    return _Question(
        "Plane",
        ("Is this a transverse section?", _format_yes_no(not radiograph)),
        ("这是横断面吗?", "不是" if radiograph else "是的"),
        True,
    )


def _ask_organ_position(rng, case: Case) -> _Question | None:
    """Ask for the position of an organ that is clearly on one side of the image."""
    found = []
    for organ, (x, y) in case.centers.items():
        across = "Left" if x < 0.42 else "Right" if x > 0.58 else ""
        down = "Upper" if y < 0.42 else "Lower" if y > 0.58 else ""
        if organ in ASKED_ORGANS and (across or down):
            found.append((organ, f"{down} {across}".strip()))
    if not found:
        return None
    organ, place = found[int(rng.integers(len(found)))]
    return _Question(
        "Position",
        (f"Where is the {organ.lower()} in this image?", place),
        (f"图中{_translate(organ)}位于哪个位置?", _translate(place)),
    )


def _ask_body_system(rng, case: Case) -> _Question:
    """Ask a question that requires knowledge: which organs belong to a body system."""
    (en, zh), members = list(SYSTEMS.items())[int(rng.integers(len(SYSTEMS)))]
    present = [organ for organ in members if case.has(organ)]
    triple = ("vhead", "belong to", en)
    if present and rng.random() < 0.7:
        return _Question(
            "KG",
            (f"Which organs/organ in the picture belong to the {en}?", ", ".join(present)),
            (f"图片中哪个器官属于{zh}?", "、".join(map(_translate, present))),
            triple=triple,
        )
    return _Question(
        "KG",
        (f"Do any of the organs in the picture belong to the {en}?", _format_yes_no(bool(present))),
        (f"图片中包含器官属于{zh}吗?", "包含" if present else "不包含"),
        True,
        triple,
    )


def _ask_count(rng, case: Case) -> _Question | None:
    organ = {"Lung": "Lung", "Abdomen": "Kidney"}.get(case.location)
    if organ is None:
        return None
    count = str(sum(f"{side} {organ}" in case.organs for side in ("Left", "Right")))
    en = f"How many {organ.lower()}s are shown in this image?"
    return _Question("Quantity", (en, count), (f"图中显示了多少个{_translate(organ)}?", count))
