"""Writes the layout of SLAKE: folders `imgs/xmlabN/` with image, mask and questions, and all questions in three files.

As in the real dataset, the English and the Chinese questions are split into train, validate and test independently, so
an image can be in two of the files; the order of keys differs between rows; and `question.json` has no `qid`. The
questions and answers come from `slake_questions.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from hub_datasets.records import Reason
from hub_datasets.synthetic.drawings.canvas import to_image
from hub_datasets.synthetic.drawings.chest import ChestFindings, draw_chest
from hub_datasets.synthetic.drawings.slice_page import Lesion, Slice
from hub_datasets.synthetic.drawings.slices import draw_slice
from hub_datasets.synthetic.layouts import Written, allocate, save_image
from hub_datasets.synthetic.layouts.slake_questions import Case, ask

KEYS = ("img_id", "img_name", "question", "answer", "q_lang", "location", "modality", "answer_type", "base_type")
KEY_ORDERS = ((*KEYS, "content_type", "triple", "qid"), (*KEYS, "triple", "qid", "content_type"))
IMAGES = 110
# Images per location and contrast; CT, MRI and X-ray have about the real proportions.
KINDS = {
    ("Lung", "X-Ray"): 24, ("Lung", "CT"): 18, ("Abdomen", "CT"): 22, ("Abdomen", "T1"): 7, ("Abdomen", "T2"): 10,
    ("Brain_Tissue", "T1"): 7, ("Brain_Tissue", "T2"): 9, ("Pelvic Cavity", "CT"): 4, ("Pelvic Cavity", "T2"): 4,
    ("Neck", "CT"): 5,
}  # fmt: skip
SPLITS = {"train.json": 450, "validate.json": 96, "test.json": 96}
# Gray level of each region in `mask.png`.
GRAYS = {
    "Brain": 30, "Trachea": 40, "Esophagus": 50, "Thyroid": 60, "Liver": 70, "Femoral Head": 80, "Sacrum": 90,
    "Bladder": 100, "Rectum": 110, "Heart": 120, "Left Kidney": 135, "Spinal Cord": 145, "Right Kidney": 155,
    "Stomach": 165, "Small Bowel": 205, "Left Lung": 215, "Right Lung": 225, "Spleen": 230, "Colon": 240,
}  # fmt: skip
FINDING_GRAY = 245
KNOWLEDGE = {
    "organ": (
        "entity,property,value",
        ["肝脏,功能,解毒", "胃,功能,消化食物", "肺,功能,呼吸", "心脏,功能,推动血液流动"],
    ),
    "organ_rel": ("entity,property,value", ["肝脏,属于,消化系统", "肺,属于,呼吸系统", "肾脏,属于,泌尿系统"]),
    "disease": ("disease,relation,object", ["肺炎,发病部位,肺", "气胸,发病部位,胸膜腔", "肝癌,发病部位,肝脏"]),
    "en_organ": ("organ#attribute#value", ["Liver#function#detoxification", "Stomach#function#digest food"]),
    "en_organ_rel": (
        "organ#attribute#value",
        ["Liver#belong to#Digestive System", "Lung#belong to#Respiratory System"],
    ),
    "en_disease": ("disease#attribute#value", ["Pneumonia#location#Lung", "Pneumothorax#location#Pleural Cavity"]),
}


def write(folder: Path, seed: int, scale: float) -> Written:
    """Write the image folders, the three split files, `mask.txt` and `KG/` below `folder`."""
    total = max(14, round(IMAGES * scale))
    kinds = allocate(total, KINDS)[:total]
    np.random.default_rng([seed, 3]).shuffle(kinds)
    rows: dict[str, list[list[dict]]] = {"en": [], "zh": []}
    used: set = set()
    for number, kind in enumerate(kinds):
        rng = np.random.default_rng([seed, 3, number])
        image_dir = folder / "imgs" / f"xmlab{number}"
        case = _draw_case(rng, image_dir, *kind, used)
        image_rows = {language: _ask_questions(rng, case, number, language) for language in ("en", "zh")}
        for language, members in image_rows.items():
            rows[language].append(members)
        # question.json has neither qid nor content_type.
        bare = [{key: row[key] for key in (*KEYS, "triple")} for members in image_rows.values() for row in members]
        _write_json(image_dir / "question.json", bare)

    rng = np.random.default_rng([seed, 3, total])
    files = _split_rows(rng, rows)
    faults = _break_rows(files, total)
    qid = 0
    for name, members in files.items():
        for row in members:
            row["qid"] = qid
            qid += 1
        order = [KEY_ORDERS[int(rng.random() < 0.23)] for _ in members]
        ordered = [{key: row[key] for key in keys if key in row} for row, keys in zip(members, order, strict=True)]
        _write_json(folder / name, ordered)
    (folder / "mask.txt").write_text("".join(f"{organ}:{gray}\n" for organ, gray in GRAYS.items()), encoding="utf-8")
    for name, (header, lines) in KNOWLEDGE.items():
        path = folder / "KG" / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8", newline="\n")
    keys = [
        # A build names a row without a question by its position in the file instead of its qid.
        (f"{name} row {files[name].index(row) + 1}" if code is Reason.MALFORMED_ROW else f"qid {row['qid']}", code)
        for name, row, code in faults
    ]
    return Written(f"{total} images, {qid:,} questions in English and Chinese", keys)


def _draw_case(rng: np.random.Generator, image_dir: Path, location: str, contrast: str, used: set) -> Case:
    """Draw one image, write it with its mask and boxes to `image_dir`, and return its description.

    Args:
        used: the contents of the images so far, to which this one is added. A content is repeated only if 30 draws give
            no new one.
    """
    size = int(rng.choice([160, 192, 224, 256]))
    for _ in range(30):
        if contrast == "X-Ray":
            (finding, findings), organs = _draw_chest_finding(rng), frozenset({"Left Lung", "Right Lung", "Heart"})
        else:
            organs, finding = _draw_organs(rng, location)
        if (location, contrast, organs, finding) not in used:
            break
    used.add((location, contrast, organs, finding))
    if contrast == "X-Ray":
        drawing = draw_chest(rng, findings, size)
    else:
        drawing = draw_slice(rng, Slice(location, contrast, organs, finding), size)
    save_image(to_image(drawing.picture).convert("RGB"), image_dir / "source.jpg")

    mask = np.zeros((size, size), dtype=np.uint8)
    boxes = []
    for name, region in drawing.regions.items():
        mask[region] = GRAYS.get(name, FINDING_GRAY)
    for name in drawing.regions:
        ys, xs = np.nonzero(mask == GRAYS.get(name, FINDING_GRAY))
        if len(ys):  # a finding can cover all of an organ
            x, y, right, bottom = (float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            boxes.append({name: [x, y, right - x, bottom - y]})
    save_image(Image.fromarray(mask).convert("RGB"), image_dir / "mask.png")
    _write_json(image_dir / "detection.json", boxes)
    areas = {name: int((mask == gray).sum()) for name, gray in GRAYS.items()}
    centers = {name: _find_center(mask == GRAYS[name]) for name, area in areas.items() if area and name in organs}
    return Case(location, contrast, organs, finding, areas, centers)


def _find_center(region: np.ndarray) -> tuple[float, float]:
    """Return the mean position of a region as shares of the image's width and height."""
    ys, xs = np.nonzero(region)
    return float(xs.mean() / region.shape[1]), float(ys.mean() / region.shape[0])


def _draw_chest_finding(rng: np.random.Generator) -> tuple[Lesion | None, ChestFindings]:
    """Return at most one finding of a chest radiograph, as the questions and as the drawing describe it."""
    name = str(rng.choice(["", "Nodule", "Pneumonia", "Pneumothorax", "Pleural Effusion", "Cardiomegaly"]))
    side, end = str(rng.choice(["Left", "Right"])), str(rng.choice(["upper", "lower"]))
    extent = str(rng.choice(["small", "large"]))
    findings = {
        "": ChestFindings(),
        "Nodule": ChestFindings(nodules=((side.lower(), end, extent),)),
        "Pneumonia": ChestFindings(consolidations=((side.lower(), end),)),
        "Pneumothorax": ChestFindings(pneumothorax=side.lower()),
        "Pleural Effusion": ChestFindings(effusions=((side.lower(), extent),)),
        "Cardiomegaly": ChestFindings(cardiomegaly="mild" if extent == "small" else "marked"),
    }
    return (Lesion(name, side, extent, end) if name else None), findings[name]


def _draw_organs(rng: np.random.Generator, location: str) -> tuple[frozenset[str], Lesion | None]:
    """Return the organs of a slice and its finding; about half of the slices have one."""

    def choose(**probabilities: float) -> set[str]:
        return {name.replace("_", " ") for name, value in probabilities.items() if rng.random() < value}

    side, end = str(rng.choice(["Left", "Right"])), str(rng.choice(["upper", "lower"]))
    kinds = {"Lung": ["Lung Cancer", "Pneumonia", "Pleural Effusion"], "Brain_Tissue": ["Brain Tumor", "Brain Edema"]}
    if location == "Lung":
        organs = {"Left Lung", "Right Lung"} | choose(Heart=0.6)
    elif location == "Brain_Tissue":
        organs = {"Brain"}
    elif location == "Neck":
        organs = {"Trachea"} | choose(Thyroid=0.75, Esophagus=0.6)
        kinds[location] = ["Thyroid Nodule"] if "Thyroid" in organs else []
    elif location == "Pelvic Cavity":
        organs = {"Femoral Head"} | choose(Bladder=0.75, Rectum=0.7, Small_Bowel=0.4)
        kinds[location] = ["Bladder Cancer"] if "Bladder" in organs else []
        if "Bladder" not in organs:
            organs.add("Small Bowel")
    else:
        level = rng.random()
        if level < 0.35:  # the upper abdomen; then the level of the kidneys, then below the liver
            organs = {"Liver"} | choose(Stomach=0.7, Spleen=0.75, Colon=0.35)
        elif level < 0.7:
            organs = {"Liver"} | choose(Spleen=0.5, Stomach=0.4, Colon=0.5, Left_Kidney=0.75, Right_Kidney=0.75)
        else:
            organs = {"Small Bowel"} | choose(Colon=0.6, Left_Kidney=0.75, Right_Kidney=0.75)
        kidneys = [name.split()[0] for name in ("Left Kidney", "Right Kidney") if name in organs]
        kinds[location] = ["Liver Cancer"] * ("Liver" in organs) + ["Kidney Cancer"] * bool(kidneys)
    if rng.random() < 0.45 or not kinds[location]:
        return frozenset(organs), None
    name = str(rng.choice(kinds[location]))
    if name == "Liver Cancer":
        side = "Right"
    elif name == "Kidney Cancer":
        side = str(rng.choice(kidneys))
    elif name == "Pleural Effusion":  # fluid collects at the back of a patient who lies on the back
        end = "lower"
    return frozenset(organs), Lesion(name, side, str(rng.choice(["small", "large"])), end)


def _ask_questions(rng: np.random.Generator, case: Case, number: int, language: str) -> list[dict]:
    """Return the rows of one image in one language, without `qid`."""
    image = {"img_id": number, "img_name": f"xmlab{number}/source.jpg", "q_lang": language}
    image |= {"location": case.location, "modality": case.modality}
    return [image | turn for turn in ask(rng, case, language)]


def _split_rows(rng: np.random.Generator, rows: dict[str, list[list[dict]]]) -> dict[str, list[dict]]:
    """Assign the images to the three files, separately for each language; English comes first in each file."""
    files: dict[str, list[dict]] = {name: [] for name in SPLITS}
    for members in rows.values():
        names = allocate(len(members), SPLITS)
        for name, i in zip(names, rng.permutation(len(members)), strict=True):
            files[name] += members[i]
    return files


def _break_rows(files: dict[str, list[dict]], images: int) -> list[tuple[str, dict, Reason]]:
    """Break some rows and return (file, row, code) of each.

    All of them are so late in their file that their qid is not the beginning of another one.
    """
    train, validate, test = files["train.json"], files["validate.json"], files["test.json"]
    last = len(train)
    empty = train[round(0.8 * last)]
    empty["answer"] = ""
    # Two rows occur twice, like some rows of the real train.json.
    others = [row for row in train[round(0.6 * last) : round(0.75 * last)] if row["img_id"] != empty["img_id"]]
    repeats = [dict(others[0]), dict(others[-1])]
    train += repeats
    without_image = validate[-1] | {"img_id": images, "img_name": f"xmlab{images}/source.jpg"}
    validate.append(without_image)
    malformed = test[round(0.6 * len(test))]
    del malformed["question"]
    return [
        ("train.json", empty, Reason.TEXT_EMPTY),
        *(("train.json", row, Reason.DUPLICATE_ROW) for row in repeats),
        ("validate.json", without_image, Reason.IMAGE_MISSING),
        ("test.json", malformed, Reason.MALFORMED_ROW),
    ]


def _write_json(path: Path, rows: list[dict]) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8", newline="\n")
