"""Lists the words around which a name of a person stands in a report, in English and Chinese, for `identifiers.py`."""

from __future__ import annotations

from hub_datasets.texts.person_names import (
    AGE,
    AGED_NAME,
    CAPITAL_NAME,
    CHINESE_NAME,
    FULL_NAME,
    GIVEN_NAMES,
    INITIALS_NAME,
    KNOWN_NAME,
    NAME,
    NAME_IN_SENTENCE,
    NO_EPONYM,
    PERSON,
    PERSON_WORD,
    STRANGER,
)

BEHIND_A_LABEL = (
    r"(?<![A-Za-z])(?i:patient(?:['’]?s)?\s{1,3}name|name of (?:the )?patient)(?:\s{0,3}[:=]|\sis)\s{0,3}" + NAME,
    rf"(?<![A-Za-z] )\b(?i:(?:(?:full|first|last|family|given) )?name|surname)\s{{0,3}}[:=]\s{{0,3}}{NAME}",
    rf"\b(?i:physician|radiologist|doctor)\s{{0,3}}[:=]\s{{0,3}}{NAME}",
    rf"\b(?i:dictated|signed|reported|transcribed|interpreted|verified|approved) (?i:by)\s{{0,3}}:?\s{{0,3}}{NAME}",
    rf"姓名(?:\s{{0,3}}[:：=是为叫]\s{{0,3}}|\s{{1,3}}){CHINESE_NAME}",
    rf"姓名{KNOWN_NAME}",
    rf"\b(?:[Pp]atient|PATIENT|P[Tt]|pt)\s{{0,3}}[:=]\s{{0,3}}{NO_EPONYM}"
    rf"(?:{PERSON}|{PERSON_WORD}(?=,?\s{{1,3}}(?:\d{{1,3}}\s?(?i:y|m|f)|[MF]\b)))",
    r"(?:病人|患者|患儿)\s{0,3}[:=]\s{0,3}"
    rf"(?:{KNOWN_NAME}|{PERSON}|[\u4e00-\u9fff]{{1,6}}·[\u4e00-\u9fff]{{1,6}})",
    rf"(?:病人|患者|患儿){AGED_NAME}(?=\s{{0,3}}[,、(]?\s{{0,3}}(?:[男女]|性别|年龄|\d{{1,3}}\s?岁))",
    rf"(?:医师|医生|报告者|审核者|联系人)\s{{0,3}}[:：=]\s{{0,3}}{CHINESE_NAME}",
)
# Behind "Patient" or 患者 without a colon a name is only told by its form, or by what follows it.
BEHIND_PATIENT = (
    rf"(?<![A-Za-z])(?:[Pp]atient(?:['’]?s name)?|PATIENT|[Pp]t\.?)(?:\s{{1,3}}|, | \()(?:{FULL_NAME})(?![A-Za-z])",
    rf"(?<![A-Za-z])(?:[Nn]ame|NAME)(?:\s?/\s?(?i:id|mrn|dob))?\s{{0,3}}[:=]?\s{{1,3}}(?:{FULL_NAME}|{CAPITAL_NAME})(?![A-Za-z])",
    rf"(?:病人|患者|患儿|病员|病患|名字叫|名叫)\s{{0,2}}{KNOWN_NAME}(?=\s{{0,3}}[,，.。;；])",
    rf"(?:病人|患者|患儿|病员|病患)\s{{0,2}}{NAME_IN_SENTENCE}(?=因|复查|复诊|住院|于\d|自述|主诉|入院|来院|来我院|就诊|胸片|家属)",
)
BY_OTHER_WORDS = (
    rf"(?:通知|告知|联系|转告){KNOWN_NAME}",
    rf"(?:通知|告知|联系|转告|与|同|向){NAME_IN_SENTENCE}(?=家属|本人|沟通)",
    rf"(?:家属|监护人|陪同者?){NAME_IN_SENTENCE}(?=签字|签名|陪同|代诉)",
    rf"(?:审核|报告|书写|签发|签名|记录|阅片|操作)(?:者|人)?\s{{0,3}}[:：=]\s{{0,3}}{KNOWN_NAME}",
    rf"(?:审核|报告|书写|签发|记录|阅片|操作)(?:者|人){KNOWN_NAME}",
    rf"(?<![\u4e00-\u9fff]){NAME_IN_SENTENCE}(?=的(?:胸片|旧片|影像|图像|报告|检查))",
    rf"{NAME_IN_SENTENCE}(?=医师|医生|主任|教授|大夫)",
    rf"\b(?i:discussed with|spoke (?:with|to)|told|informed|notified|paged|relayed to|communicated (?:to|with)"
    rf"|conveyed to|reviewed with|called to|seen by|read by|report(?:ed)? to|reviewed by|performed by|requested "
    rf"by|ordered by"
    rf"|referred by|attending:?|resident:?|cc:|re:|regarding)"
    rf"\s{{1,2}}(?:{FULL_NAME})(?![A-Za-z])",
    rf"\b(?i:films?|images?|x-?rays?|radiographs?|scans?|stud(?:y|ies)|chest|mother|father|wife|husband|son"
    rf"|daughter|family) (?:of|for) "
    rf"(?:{FULL_NAME})(?![A-Za-z])",
    rf"(?<![A-Za-z'’-])(?:{FULL_NAME})(?=\s(?:(?:re)?presented|presents|presenting|complains|complained|c/o|denies|denied"
    r"|underwent|returns|returned|was (?:seen|examined|admitted|referred|scanned)|has a history)(?![A-Za-z]))",
    rf"(?<![A-Za-z'’-])(?:{FULL_NAME}|{INITIALS_NAME})(?=,?\s(?:M\.?D|D\.?O|Ph\.?D|R\.?N|PA-C|FRCR|FACR|MBBS)(?![A-Za-z]))",
)
BESIDE_AGE = (  # John Smith, 54M; DOE JANE (54 F); 54 yo M John Smith
    rf"(?<![A-Za-z'’-])(?:{FULL_NAME}|{CAPITAL_NAME}|{INITIALS_NAME})"
    rf"(?=\s{{0,2}}(?:[,;:(\[-]?\s{{0,3}}|(?:is|was) (?:an?|the) ){AGE})",
    rf"\b\d{{1,3}}\s?-?(?i:yo |y/o |years?[ -]old )?(?i:m|f|male|female|man|woman),? (?i:named )?(?:{FULL_NAME})",
    rf"(?<![\u4e00-\u9fff]){AGED_NAME}(?=[\s,，、(（]{{1,4}}(?:[男女](?![\u4e00-\u9fff])|\d{{1,3}}\s?岁))",
)
BY_THE_GIVEN_NAME = (  # a common one with another word that is not of a report
    rf"(?<![A-Za-z'’-])(?=[A-Z])(?i:{GIVEN_NAMES}) (?:[A-Z]\.? )?{STRANGER}(?![A-Za-z'’-])",
    rf"(?<![A-Za-z'’-]){STRANGER}, (?=[A-Z])(?i:{GIVEN_NAMES})(?![A-Za-z'’-])",
)
BEHIND_A_TITLE = (rf"\b(?:Mr|Mrs|Ms|Miss|Mister|Dr|Prof|Doctor|Professor)\b\.?\s{{1,3}}{NAME}",)

# Lower-case words of which a text must contain one, and the expressions that are then searched for.
NAME_RULES = (
    (
        (
            "patient", "pt:", "pt ", "pt=", "pt：", "name", "physician", "radiologist", "doctor", "ed by", "病人",
            "患者",
            "患儿", "姓名", "医师", "医生", "告者", "核者", "联系人",
        ),
        BEHIND_A_LABEL,
    ),
    (("patient", "pt ", "pt.", "name", "病人", "患者", "患儿", "病员", "病患", "名字叫", "名叫"), BEHIND_PATIENT),
    (
        (
            " with", " to ", " by ", " of ", " for ", "told", "informed", "notified", "paged", "cc:", "re:",
            "regarding",
            "present", "complain", "c/o", "denie", "underwent", "return", " was ", "has a history", "attending",
            "resident", " md", "m.d", " do", "d.o", "phd", "ph.d", " rn", "r.n", "pa-c", "frcr", "facr", "mbbs",
            "通知", "告知", "联系", "转告", "家属", "监护人", "陪同", "审核", "报告", "书写", "签发", "签名", "的",
            "记录",
            "阅片", "操作", "医师", "医生", "主任", "教授", "大夫",
        ),
        BY_OTHER_WORDS,
    ),
    (tuple("0123456789男女"), BESIDE_AGE),
    ((), BY_THE_GIVEN_NAME),
    (("mr", "ms.", "ms ", "miss ", "mister", "dr.", "dr ", "prof", "doctor"), BEHIND_A_TITLE),
)  # fmt: skip
