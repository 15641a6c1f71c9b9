"""Gives sentences of reports in which nobody is named: eponyms, headings in capitals, measurements."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

EPONYMS = (
    "Baker cyst",
    "Kerley B lines",
    "Osgood-Schlatter disease",
    "Chiari malformation",
    "Hounsfield units",
    "Hill-Sachs lesion",
    "Bankart lesion",
    "Schmorl nodes",
    "Crohn disease",
    "Paget disease",
    "Ewing sarcoma",
    "Hodgkin lymphoma",
    "Colles fracture",
    "Smith fracture",
    "Jones fracture",
    "Looser zones",
    "Haglund deformity",
    "Perthes disease",
    "Scheuermann disease",
    "Barrett esophagus",
    "Virchow-Robin spaces",
    "Willis circle",
    "Bosniak 2 cyst",
    "Fleischner criteria",
    "Bowen disease",
)
AROUND = (
    "{}.",
    "No {} is seen.",
    "Findings are consistent with a {}.",
    "Patient with a known {}, stable.",
    "The {} measures 12 mm.",
    "54M with {}.",
    "Small {} in a 63-year-old woman.",
    "Patient: {} on the left.",
)
SITES = (
    "lung",
    "liver",
    "left knee",
    "right hip",
    "spleen",
    "L4-L5 disc",
    "frontal lobe",
    "thyroid",
    "aorta",
    "C5/6 level",
)
FINDINGS = (
    "A mass of 1.5 x 2.3 cm is seen in the {}.",
    "The {} is normal in size and shape; HU 35 to 45.",
    "No focal abnormality of the {} in a 54-year-old man.",
    "PATIENT HISTORY: PAIN OVER THE {}.",
    "Right {} AP View, 54 F, two films.",
    "Patient Positioning: supine, centered on the {}.",
    "Follow-up of the {} in 3 months is advised, series 4, image 123 of 456.",
    "Clinical History: 61M, cough. Compare the {} with the other side.",
    "T2 signal of the {} 2500 ms, b=1000, 512 x 512.",
    "Emergency Department, 45F. Evaluate the {}.",
    "The patient tolerated the biopsy of the {} well.",
    "Moderate Osteoarthritis, 71-year-old female; {} unremarkable.",
    "Patient has Parkinson Disease; {} not enlarged.",
    "Impression: Normal {}. Kellgren Lawrence grade 2.",
    "BI-RADS 4a, TNM T2N0M0, ICD-10 M17.1 of the {}.",
    "The {} shows 250000 cells per field and 1000000 units were given.",
    "Upper and Lower {} zones, 12 year old boy.",
    "CHEST PAIN, 54M. {} WITHIN NORMAL LIMITS.",
)
CHINESE_SITES = ("右肺上叶", "肝右叶", "左膝关节", "腰4/5椎间盘", "额叶", "甲状腺", "主动脉", "双肾", "脾脏", "心影")
CHINESE = (
    "{}见1.5×2.3cm结节，边界清。",
    "{}未见明显异常，CT值35-45HU。",
    "患者高血压，{}大小正常。",
    "患者曾咳嗽，现{}清晰。",
    "患者黄疸，{}密度均匀。",
    "患者胸痛，男，54岁，{}未见骨折。",
    "患者高热，{}斑片影。",
    "患者张口受限，{}形态可。",
    "患者马上复查，{}较前吸收。",
    "患者，女，63岁，{}增大。",
    "高密度影位于{}，大小约12毫米。",
    "患者仰卧位，{}显示清楚。",
    "病人：无不适，{}正常。",
    "建议3个月后复查{}，第12层。",
    "{}T2信号增高，2级，共3例中1例。",
    "患者任何不适，请复查{}。",
    "患者于2019年手术，{}术后改变。",
    "患者周身酸痛，{}退行性变。",
    "患者左膝外伤，{}骨质完整。",
    "陈旧性病变，{}钙化。",
    "患者双肺清晰，{}无殊。",
    "患者严重脱水，{}未见积液。",
    "万古霉素治疗后，{}病灶减小。",
    "石膏固定后，{}对位可。",
    "患者江苏省转入，{}待查。",
    "患者方便时复查，{}随访。",
    "患者无发热，{}纹理增多。",
    "患者高龄，{}退变。",
)


def clean_sentences() -> Iterator[tuple[str, str]]:
    """Yields (language, sentence)."""
    for eponym, around in product(EPONYMS, AROUND):
        yield "en", around.format(eponym)
    for finding, site in product(FINDINGS, SITES):
        yield "en", finding.format(site)
    for finding, site in product(CHINESE, CHINESE_SITES):
        yield "zh", finding.format(site)
