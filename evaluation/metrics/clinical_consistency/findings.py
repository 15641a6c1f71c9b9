"""Lists the findings and organs that `clinical_consistency` knows, with their English and Chinese names.

A finding is named by its kind and, where the kind occurs in several organs, by its organ: "gallstone" and "stone in the
gallbladder" are both (stone, gallbladder). All names are regular expressions for text in lower case and simplified
characters; an English name stands between word boundaries. Some names deny the finding by themselves: a preserved joint
space is the absence of its narrowing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Name(NamedTuple):
    """What a name in a text stands for.

    Attributes:
        kind: the kind of finding.
        organs: the organs that it is looked for in; empty for a kind without an organ.
        default: the organ if none is mentioned; empty for unknown.
        required: whether it is a finding only in one of these organs.
        inverted: whether the name says that the finding is absent.
    """

    kind: str
    organs: tuple[str, ...] = ()
    default: str = ""
    required: bool = False
    inverted: bool = False


# Organ: its names. "chest" and the lobes of the lung count as lung, those of the brain as brain.
ORGANS = {
    "joint_space": r"(?:knee )?joint spaces?|膝?关节间隙",
    "costophrenic_angle": r"costophrenic(?: angles?| sulc(?:us|i))?|肋膈角",
    "midline": r"midline|中线(?:结构)?",
    "lymph_node": r"lymph nodes?|淋巴结",
    "soft_tissue": r"soft[- ]tissues?|软组织",
    "pericardium": r"pericardi(?:al|um)|心包",
    "pleura": r"pleural?|hemithorax|胸膜腔?|胸腔|胸水",
    "lung": r"lungs?|pulmonary|bibasilar|basilar|chest|thora(?:x|cic)(?! spine)|(?:upper|lower|"
    r"middle) lobes?|lingula|肺|胸部",
    "heart": r"hearts?|cardiac(?: silhouette| shadow| contour)?|心脏|心影|心胸比",
    "brain": r"brain|cerebr(?:al|um)|intracranial|intracerebral|(?:frontal|temporal|parietal|occipital)(?: lobes?)?"
    r"|hemispher(?:es?|ic)|cerebell(?:um|ar)|大脑|小脑|脑|颅内|[额颞顶枕]叶",
    "gallbladder": r"gall ?bladder|胆囊?",
    "bladder": r"(?:urinary )?bladder|膀胱",
    "liver": r"liver|hepatic|肝脏?",
    "kidney": r"kidneys?|renal|肾[脏盂]?",
    "spleen": r"spleen|splenic|脾脏?",
    "pancreas": r"pancrea(?:s|tic)|胰腺?",
    "thyroid": r"thyroid|甲状腺",
    "prostate": r"prostat(?:e|ic)|前列腺",
    "breast": r"breasts?|mammary|乳[房腺]",
    "stomach": r"stomach|gastric|胃",
    "colon": r"colon(?:ic)?|rectum|rectal|结肠|直肠",
    "esophagus": r"o?esophag(?:us|eal)|食管|食道",
    "aorta": r"aort(?:a|ic)|主动脉",
    "rib": r"ribs?|肋骨",
    "clavicle": r"clavicles?|clavicular|锁骨",
    "femur": r"femurs?|femoral|股骨",
    "tibia": r"tibias?|tibial|胫骨",
    "spine": r"spin(?:e|al)(?: canal)?|vertebra[el]?|lumbar|脊柱|椎管|椎体|[腰胸颈]椎",
    "joint": r"knees?|joints?|膝关节|膝盖?|关节腔?",
    "abdomen": r"abdom(?:en|inal)|periton(?:eum|eal)|腹腔?",
}

_SOLID = ("lung", "liver", "kidney", "brain", "thyroid", "pancreas", "spleen", "breast", "gallbladder", "bladder")
_SOLID += ("stomach", "colon", "esophagus", "prostate")
_BONES = ("rib", "clavicle", "femur", "tibia", "spine")
_SIZED = ("heart", "spleen", "liver", "kidney", "lymph_node", "thyroid", "prostate")
_SPACES = ("pleura", "joint", "pericardium", "abdomen", "lung", "joint_space")
_WALLS = ("gallbladder", "bladder", "stomach", "colon", "esophagus")

# A normal state of these denies a certain finding; of other organs, any abnormality.
NORMAL_MEANS = {
    "heart": "enlargement",
    "spleen": "enlargement",
    "joint_space": "narrowing",
    "costophrenic_angle": "blunting",
    "midline": "shift",
}
# A kind in an organ that is another organ's finding: fluid of the chest is in the pleura, that of a joint space in the
# joint.
MOVED = {("effusion", "lung"): "pleura", ("effusion", "joint_space"): "joint"}

FINDINGS: list[tuple[Name, str]] = [
    # ---- chest
    (Name("effusion", _SPACES, "pleura"), r"effusions?|pleural fluid|hydrothorax|胸腔积液|胸水|积液"),
    (
        Name("effusion", ("pleura", "abdomen", "joint", "pericardium"), required=True),
        r"fluid|液体(?:密度|信号)?影?|液性暗区",
    ),
    (Name("effusion", ("abdomen",), "abdomen"), r"ascites|free fluid|腹腔积液|腹水|游离液体"),
    (Name("pneumothorax"), r"pneumothora(?:x|ces)|气胸"),
    (Name("consolidation"), r"consolidations?|airspace (?:opacit(?:y|ies)|disease)|实变"),
    (Name("infiltrate"), r"infiltrat(?:es?|ions?)|浸润"),
    (Name("opacity"), r"opacit(?:y|ies)|opacification|斑片状?(?:高密度)?影|密度增高影"),
    (Name("pneumonia"), r"(?:broncho)?pneumonias?|lung infections?|(?:支气管|大叶性|间质性)?肺炎|肺部?感染"),
    (Name("pneumonia", ("lung",), required=True), r"炎症"),
    (Name("atelectasis"), r"atelecta(?:sis|ses|tic)|肺不张|膨胀不全"),
    (Name("atelectasis", ("lung",), required=True), r"collapsed?"),
    (Name("emphysema"), r"emphysema(?:tous)?|肺气肿"),
    (Name("emphysema", ("lung",), required=True), r"气肿"),
    (Name("fibrosis", _SOLID), r"fibros(?:is|es)|fibrotic|纤维化|纤维(?:条索|索条|灶)"),
    (Name("bronchiectasis"), r"bronchiectas(?:is|es|ia)|支气管扩张"),
    (Name("tuberculosis"), r"tuberculosis|结核"),
    (Name("nodule", _SOLID), r"nodules?|nodular lesions?|结节"),
    (Name("granuloma", _SOLID), r"granulomas?|granulomata|肉芽肿"),
    (
        Name("cavity"),
        r"(?<!peritoneal )(?<!abdominal )(?<!oral )(?<!nasal )(?<!pleural )(?<!pelvic )cavit(?:y|"
        r"ies|ation|ary lesions?)|空洞",
    ),
    (Name("calcification", _SOLID), r"(?:micro)?calcifi(?:cations?|ed)|钙化"),
    (Name("pleural_thickening"), r"pleural thickening|胸膜增厚"),
    (Name("blunting", ("costophrenic_angle",), required=True), r"blunt(?:ed|ing)|变?钝"),
    (Name("pacemaker"), r"pacemakers?|起搏器"),
    (Name("hiatal_hernia"), r"hiat(?:al|us) hernias?|(?:食管)?裂孔疝"),
    (Name("embolism"), r"(?:pulmonary )?embol(?:ism|us|i)|(?:肺动脉)?栓塞"),
    (Name("enlargement", ("heart",), "heart"), r"cardiomegaly|心脏肥大|心影增大|心脏增大|心脏扩大"),
    (Name("exudation"), r"exudat(?:es?|ion)|渗出"),
    (
        Name("obstructive_disease"),
        r"(?:chronic )?obstructive (?:pulmonary|lung|airways?) disease|copd|慢性阻塞性肺(?:疾?病)|"
        r"慢阻肺",
    ),
    (
        Name("interstitial_disease"),
        r"interstitial (?:lung )?(?:disease|markings|changes|pattern|thickening)|间质性肺病|"
        r"间质性?(?:改变|病变)",
    ),
    (Name("bronchitis"), r"bronchitis|支气管炎|慢支"),
    (Name("congestion"), r"(?:vascular |venous )?congestion|淤血"),
    (Name("hyperinflation"), r"hyper-?inflat(?:ed|ion)|hyper-?expan(?:ded|sion)|过度充气"),
    (Name("scar"), r"scar(?:s|ring)?|瘢痕"),
    (Name("granulomatous_disease"), r"granulomatous disease"),
    (Name("tortuosity", ("aorta",)), r"tortuous|tortuosity|迂曲"),
    (Name("tube"), r"endotracheal tube|et tube|气管插管"),
    (Name("gastric_tube"), r"nasogastric tube|ng tube|(?:鼻)?胃管"),
    (Name("catheter"), r"catheters?|central (?:venous )?line|picc(?: line)?|导管"),
    (
        Name("hilar_enlargement"),
        r"(?:enlarge(?:d|ment of the) hil(?:um|a|ar)|hil(?:ar|um) (?:enlargement|prominence)|"
        r"肺门影?(?:增大|增浓))",
    ),
    # ---- heart, abdomen and others by their size
    (Name("enlargement", ("spleen",), "spleen"), r"splenomegaly|脾脏?肿?大(?!小)"),
    (Name("enlargement", ("liver",), "liver"), r"hepatomegaly|肝脏?肿?大(?!小)"),
    (Name("enlargement", ("lymph_node",), "lymph_node"), r"(?:lymph)?adenopathy|肿大淋巴结"),
    (Name("enlargement", _SIZED, required=True), r"enlarge(?:d|ment)|dilated|肿大|增大|扩大|肥大"),
    (Name("enlargement", ("prostate",), "prostate"), r"(?:benign )?prostatic hyperplasia|bph|前列腺增生"),
    (Name("aneurysm", ("aorta", "brain")), r"aneurysms?|aneurysmal|动脉瘤"),
    (Name("free_air"), r"(?:free|intraperitoneal) (?:air|gas)|pneumoperitoneum|(?:腹腔)?游离气体"),
    (Name("stone", ("gallbladder",), "gallbladder"), r"gallstones?|cholelithiasis|胆石症?|胆囊?结石"),
    (Name("stone", ("kidney",), "kidney"), r"nephrolithiasis"),
    (Name("stone", ("kidney", "gallbladder", "bladder", "liver")), r"stones?|calcul(?:i|us)|结石"),
    (Name("hydronephrosis", ("kidney",), "kidney"), r"hydronephros(?:is|es)|肾盂?积水"),
    (Name("hydronephrosis", ("kidney",), required=True), r"积水"),
    (Name("hydrocephalus"), r"hydrocephalus|脑积水"),
    (Name("cyst", _SOLID), r"cysts?|囊肿"),
    (Name("fatty_liver"), r"fatty liver|(?:hepatic )?steatosis|脂肪肝|肝脏?弥漫性?脂肪变性?|肝脏?脂肪变性?"),
    (Name("cirrhosis"), r"cirrho(?:sis|tic)|肝脏?硬化"),
    (Name("cholecystitis"), r"cholecystitis|胆囊炎"),
    (Name("appendicitis"), r"appendicitis|阑尾炎"),
    (Name("abscess", _SOLID), r"abscess(?:es)?|脓肿"),
    (Name("pancreatitis"), r"pancreatitis|胰腺炎"),
    (Name("obstruction"), r"(?:bowel|intestinal) obstruction|ileus|肠梗阻"),
    (Name("polyp", _SOLID), r"polyps?|息肉"),
    (Name("diverticulosis"), r"diverticulosis|diverticul(?:a|um)|憩室(?!炎)"),
    (Name("diverticulitis"), r"diverticulitis|憩室炎"),
    (
        Name("wall_thickening", _WALLS),
        r"wall thickening|thickening of (?:the|its) wall|thickened wall|壁(?:毛糙)?增厚",
    ),
    (Name("wall_thickening", _WALLS, required=True), r"thickened|thickening|增厚"),
    (Name("wall_thickening", _WALLS, required=True, inverted=True), r"壁不厚"),
    (Name("hernia"), r"hernias?|疝"),
    # ---- brain, tumors of any organ
    (Name("hemorrhage", _SOLID), r"ha?emorrhages?|bleed(?:ing|s)?|出血"),
    (Name("hematoma", _SOLID), r"ha?ematomas?|血肿"),
    (Name("infarction", ("brain", "kidney", "spleen")), r"infarct(?:s|ions?)?|脑?梗[死塞]|腔梗"),
    (Name("infarction", ("brain",), "brain"), r"(?:ischa?emic )?strokes?"),
    (Name("edema", ("lung", "brain", "soft_tissue")), r"o?edema(?:tous)?|水肿"),
    (Name("atrophy", (*_SOLID,)), r"atroph(?:y|ic)|萎缩"),
    (Name("ventriculomegaly"), r"ventriculomegaly|(?:enlarged|dilated) ventricles|脑室(?:系统)?(?:扩大|扩张)"),
    (Name("contusion", _SOLID), r"contusions?|挫伤"),
    (
        Name("white_matter_lesion"),
        r"white matter (?:lesions?|changes|disease)|"
        r"(?:chronic )?small[- ]vessel (?:ischa?emic )?(?:changes?|disease)|白质(?:病变|疏松|脱髓鞘)",
    ),
    (Name("shift", ("midline",), required=True), r"shift(?:s|ed)?|移位|(?<=[左右])移(?!植)"),
    (Name("tumor", _SOLID), r"tumou?rs?|neoplasms?|肿瘤|(?<=脑)瘤"),
    (Name("cancer", _SOLID), r"cancers?|carcinomas?|malignanc(?:y|ies)|malignant tumou?rs?|恶性肿瘤|癌"),
    (Name("metastasis", (*_SOLID, *_BONES)), r"metasta(?:sis|ses|tic (?:disease|lesions?))|转移[瘤灶]?"),
    (Name("mass_effect"), r"mass effect|占位效应"),
    (Name("mass", _SOLID), r"mass(?:es)?|占位(?:性病变)?|肿块|肿物|包块"),
    (Name("focal_lesion", _SOLID), r"focal (?:lung |liver |brain )?lesions?"),
    (Name("hamartoma", _SOLID), r"hamartomas?|错构瘤"),
    (Name("hemangioma", _SOLID), r"ha?emangiomas?|血管瘤"),
    (Name("meningioma"), r"meningiomas?|脑膜瘤"),
    (Name("glioma"), r"gliomas?|glioblastomas?|胶质瘤"),
    # ---- knee and bones
    (Name("osteoarthritis"), r"osteo-?arthr(?:itis|osis)|degenerative joint disease|骨性?关节炎"),
    (Name("degenerative_change", ("spine", "joint")), r"degenerative (?:changes?|disease)|退行性(?:改变|变|病变)|退变"),
    (Name("osteophyte"), r"osteophyt(?:es?|osis|ic)(?: formation)?|bone spurs?|骨赘(?:形成)?|骨刺|骨质增生"),
    (Name("narrowing", ("joint_space",), required=True), r"narrow(?:ed|ing)|变?狭?窄"),
    (Name("sclerosis"), r"(?:subchondral )?sclerosis|骨质硬化"),
    (Name("stenosis", ("spine", "aorta", "esophagus")), r"stenos(?:is|es)|狭窄"),
    (Name("chondrocalcinosis"), r"chondrocalcinosis|软骨钙化"),
    (
        Name("meniscal_tear"),
        r"menisc(?:al|us)(?: (?:posterior|anterior) horn)? tears?|torn (?:(?:medial|lateral) )?meniscus|"
        r"tears? (?:of|in|involving) (?:the )?(?:(?:posterior|anterior|medial|lateral|horn|body|root|of|the) )*"
        r"menisc(?:us|i)|半月板(?:[前后]角|体部?|根部)*撕裂",
    ),
    (
        Name("ligament_tear"),
        r"(?:cruciate |collateral )?ligament tears?|torn (?:\w+ )?ligament|[am]cl tears?|tears? (?:of|in|involving) "
        r"(?:the )?(?:(?:anterior|posterior|medial|lateral|cruciate|collateral) )*ligaments?|韧带(?:撕裂|断裂)",
    ),
    (
        Name("meniscal_tear", inverted=True),
        r"(?:intact|normal) menisc(?:us|i)|menisc(?:us|i) (?:(?:is|are|appears?|remains?) )?intact|半月板(?:形态)?完整",
    ),
    (
        Name("ligament_tear", inverted=True),
        r"intact (?:(?:cruciate|collateral) )?ligaments?|ligaments? (?:(?:is|are|appears?|remains?) )?intact|"
        r"韧带(?:走行)?(?:连续|完整)",
    ),
    (Name("disc_herniation"), r"dis[ck] (?:herniations?|protrusions?|extrusions?)|herniated dis[ck]|椎间盘[脱突]出"),
    (Name("disc_bulge"), r"dis[ck] bulg(?:es?|ing)|bulging dis[ck]|椎间盘膨出"),
    (Name("loose_body"), r"loose bod(?:y|ies)|关节内游离体|游离体"),
    (Name("spondylosis"), r"spondylosis|椎体骨质增生"),
    (Name("fracture", _BONES), r"fractur(?:es?|ed)|骨折"),
    (Name("dislocation"), r"dislocat(?:ions?|ed)|脱位"),
    (Name("scoliosis"), r"scoliosis|脊柱侧[弯凸]|侧弯"),
    (Name("osteoporosis"), r"osteoporo(?:sis|tic)|osteopeni[ac]|deminerali[sz](?:ed|ation)|骨质疏松|骨质密度减低"),
    (Name("swelling"), r"swelling|肿胀"),
    # ---- skin
    (Name("melanoma"), r"melanomas?|黑色素瘤"),
    (Name("basal_cell_carcinoma"), r"basal[- ]cell (?:carcinomas?|cancers?)|bcc|基底细胞癌"),
    (Name("squamous_cell_carcinoma"), r"squamous[- ]cell (?:carcinomas?|cancers?)|scc|鳞状细胞癌|鳞癌"),
    (Name("actinic_keratosis"), r"(?:actinic|solar) keratos(?:is|es)|(?:日光性|光化性)角化病?"),
    (Name("seborrheic_keratosis"), r"seborrh?o?eic (?:keratos(?:is|es)|warts?)|脂溢性(?:角化病?|疣)"),
    (Name("nevus"), r"na?ev(?:us|i)|moles?|色素痣|痣"),
    (Name("ulceration"), r"ulcer(?:s|ated|ations?)?|溃疡"),
    (Name("elevation"), r"elevated|elevation|raised lesions?|隆起"),
    # ---- what is normal
    (Name("abnormality", tuple(ORGANS)), r"abnormal(?:ity|ities)?|异常"),
    (
        Name("abnormality", tuple(ORGANS), inverted=True),
        r"(?:within )?normal(?: limits| in size| size)?(?! (?:variant|pressure|saline))|unremarkable|"
        r"(?<!no )(?<!any )clear(?! (?:of|from|if|whether|that|how|evidence|signs?|indication|cell|fluid|interval|"
        r"increase|decrease|improvement|progression|change|margins?|borders?))|"
        r"preserved|sharp|midline position"
        r"|大小(?:形态)?正常|形态大小正常|正常|清晰|锐利|居中",
    ),
    (Name("enlargement", _SIZED, required=True, inverted=True), r"不大"),
]


def _bounded(names: str) -> str:
    """Puts word boundaries around the English names; a Chinese character needs none."""
    return rf"(?:(?<![a-z])(?=[a-z])(?:{names})(?![a-z])|(?![a-z])(?:{names}))"


ORGAN = re.compile("|".join(f"(?P<{organ}>{_bounded(names)})" for organ, names in ORGANS.items()))
# The leftmost match wins, and of several at one place the one that stands first in the table.
FINDING = re.compile("|".join(f"(?P<n{number}>{_bounded(names)})" for number, (_, names) in enumerate(FINDINGS)))


ORGAN_WORD = "|".join(_bounded(names) for names in ORGANS.values())
_PATTERNS = [re.compile(_bounded(names)) for _, names in FINDINGS]


def names_of(match: re.Match[str], text: str) -> Iterator[Name]:
    """Yields the entry of the table that `FINDING` matched, then the later ones with the same name.

    One name can belong to several kinds, of which the organ decides: a joint space is narrow, and so is a spinal canal.
    """
    first = int(match.lastgroup[1:])
    yield FINDINGS[first][0]
    for (name, _), pattern in zip(FINDINGS[first + 1 :], _PATTERNS[first + 1 :], strict=True):
        if (other := pattern.match(text, match.start())) and other.end() == match.end():
            yield name
