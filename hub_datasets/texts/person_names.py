"""Provides regular expressions for names of persons in English and Chinese texts, for `identifiers.py`.

Every repetition in them is bounded, so that no text takes long to search.
"""

from __future__ import annotations

NO_NAME = r"(?!X{2,}|(?i:n/?a|none|unknown|anonym\w{0,9}|redacted|removed|withheld|patient|not)\b)"
NAME = rf"{NO_NAME}[A-Z][A-Za-z'’-]{{1,30}}(?:,? [A-Z][A-Za-z.'’-]{{0,30}}){{0,3}}"
NO_CHINESE_NAME = (
    r"(?!姓名|性别|年龄|出生|电话|手机|住院|门诊|病历|科室|不详|未知|未填|匿名|保密|隐藏|[\u4e00-\u9fff]{0,3}某)"
)
CHINESE_NAME = rf"(?:{NO_CHINESE_NAME}[\u4e00-\u9fff·]{{2,12}}|{NAME})"
# Behind a mere "Patient:" or 患者 stand findings far more often than names, so that more is asked of a name there: two
# words that are none of these, or a common surname that does not begin one of these words.
NO_PERSON = (
    r"(?!(?i:supine|prone|erect|upright|sitting|seated|standing|lying|recumbent|semi|rotated|position\w{0,4}|portable|male"
    r"|female|man|woman|boy|girl|adult|child|infant|newborn|neonate|elderly|young|old|age[ds]?|sex|gender|status|history"
    r"|post|pre|prior|known|new|no|not|the|an?|is|was|has|had|in|with|for|from|of|on|see|left|right|side|view|chest|lungs?"
    r"|heart|knee|hip|spine|abdomen|head|skin|pain|stable|normal|abnormal|intubated|alert|complains|denies|presents|inr"
    r"|ap|pa|ct|mri?|us|xr|x-ray|unknown|anonym\w{0,9}|redacted|removed|withheld|x{2,}|name|id|number|data|information"
    r"|care|safety|education|instructions|consent)\b)"
)
# Before an age and a sex, and behind "Patient" without a colon, stand headings and findings in capitals as well. Most
# eponyms end with one of these words: Baker cyst, Kerley lines, Hounsfield units, Osgood-Schlatter disease.
NO_HEADING = (
    r"(?!(?i:clinical|indications?|information|exam(?:s|inations?)?|stud(?:y|ies)|reports?|findings?|impressions?|techniques?"
    r"|comparisons?|radiographs?|radiology|x-?rays?|images?|imaging|ultrasound|sonography|scans?|tomography|mammogra\w{1,3}"
    r"|views?|series|department|emergency|hospital|clinic|centers?|centre|ward|room|service|unit|units|monitor\w{0,4}"
    r"|system|medical|records?|accession|requests?|orders?|referral|diagnos[ie]s|conclusions?|recommendations?|procedure"
    r"|contrast|protocols?|cysts?|lines?|disease|syndrome|signs?|fractures?|malformations?|deformit(?:y|ies)|nod(?:e|ule)s?"
    r"|angles?|classification|grades?|types?|scores?|criteria|triangle|space|pouch|ligaments?|muscles?|nerves?|arter(?:y"
    r"|ies)|veins?|canal|fascia|hernias?|tumou?rs?|lesions?|mass(?:es)?|carcinoma|lymphoma|sarcoma|index|test|phenomenon"
    r"|opacit(?:y|ies)|effusions?|pneumonia|pneumothorax|edema|osteoarthritis|arthritis|bones?|joints?|thorax|pelvis|brain"
    r"|neck|shoulders?|elbows?|wrists?|hands?|ankles?|foot|feet|upper|lower|anterior|posterior|lateral|frontal|medial"
    r"|bilateral|acute|chronic|mild|moderate|severe|small|large|multiple|possible|probable|suspected|evaluate|evaluation"
    r"|rule|screening|follow(?:-?up)?|surgery|trauma|fall|cough|fever|dyspnea|shortness|breath|cancer|presented|presenting"
    r"|underwent|reports|denied|tolerated|received|admitted|referred|transferred|should|must|will|can|may|were|this|that"
    r"|there|his|her|their|and|or|by|to|at|as|aged|year|years|yo|y|caucasian|asian|african|hispanic|white|black|american"
    r"|indian|chinese|european|dear|re|date|time|today|monday|tuesday|wednesday|thursday|friday|saturday|sunday|january"
    r"|february|march|april|june|july|august|september|october|november|december|lung|skin|ct|mr|mri|pet|dr|mrs|ms|prof)\b)"
)
NO_EPONYM = (
    r"(?!(?i:hounsfield|kerley|kellgren|lawrence|osgood|schlatter|chiari|barrett|crohn|hodgkin|parkinson|alzheimer|doppler"
    r"|gleason|bosniak|fleischner|virchow|robin|scheuermann|schmorl|haglund|paget|ewing|bankart)\b)"
)
# A word as a name is written: `Smith`, `McKay`, `O'Neill`, `Smith-Jones`; capitals alone are also those of headings.
NAME_WORD = r"[A-Z](?:['’][A-Z])?[a-zà-ÿ]{1,30}(?:[A-Z][a-zà-ÿ]{1,30})?(?:[-'’][A-Z][a-zà-ÿ]{1,30}|['’][a-z]{1,20})?"
# The long lists are looked up only where a capital stands: nearly everywhere in a text none does.
STRANGER = rf"(?=[A-Z])(?:{NO_PERSON}{NO_HEADING}{NO_EPONYM}|(?=(?:Young|White|Black)\b)){NAME_WORD}"
INITIAL = r"(?: [A-Z]\.?(?![A-Za-z]))?"
FULL_NAME = rf"{STRANGER}{INITIAL}(?:,? {STRANGER}){{1,3}}"
INITIALS_NAME = rf"(?:[A-Z]\. ?){{1,2}}{STRANGER}"
CAPITALS = rf"(?=[A-Z]{{2}}){NO_PERSON}{NO_HEADING}{NO_EPONYM}[A-Z][A-Z'’-]{{1,30}}"
CAPITAL_NAME = rf"{CAPITALS}(?:,? {CAPITALS}){{1,2}}"
SEX = r"(?:[MFmf]|(?i:male|female|man|woman|boy|girl|gentleman|lady))(?![A-Za-z])"
AGE = (  # and sex: 54M, 54 F, 54/M, 54 y/o male, 54-year-old woman, aged 54; a number alone says too little
    r"(?:\d{1,3}\s?[-/]?\s?(?:(?i:years?|yrs?|y)(?:[-\s/]{0,2}(?i:old|o))?[\s,/-]{0,2})?" + SEX + r"|\d{1,3}[\s-]?"
    r"(?i:years?(?:[-\s]old)?|y/?o|yrs?(?:[-\s]old)?)(?![A-Za-z])|(?i:aged?)\s\d{1,3}|[MF][,/ ]{1,2}\d{1,3}(?![\d.])"
    r"|(?i:male|female),?\s\d{1,3}(?![\d.]))"
)
PERSON_WORD = rf"{NO_PERSON}[A-Z][A-Za-z'’-]{{1,30}}"
PERSON = rf"{PERSON_WORD}(?:,? {NO_PERSON}[A-Z][A-Za-z.'’-]{{0,30}}){{1,3}}"
SURNAME = (
    "(?:欧阳|司马|上官|诸葛|皇甫|尉迟|公孙|慕容|令狐|司徒|"
    "[王李张刘陈杨赵黄周吴徐孙胡朱高林郭马罗梁宋郑谢韩唐冯董萧程曹袁邓许傅沈"
    "曾彭吕苏卢蒋蔡贾丁魏薛叶阎潘杜夏钟汪田任姜范石姚谭廖邹熊陆郝孔崔邱秦江顾侯邵孟万段雷钱汤尹黎易武乔贺赖龚"
    "莫詹骆倪殷庞邢聂何余章柯阮樊俞鲍耿靳裴霍翟葛柳尤闫肖戴洪施庄梅])"
)
NO_SURNAME = (
    "(?!高[血热龄烧脂度危位密年级]|黄[疸染色斑疽]|张[口力开]|陈[旧述诉]|马[上蹄]|石[膏棉]|程[度序]|任[何意]|江湖|万一|雷[诺击]"
    "|易[感疲怒激]|胡[言须]|曾[经有患因行在于做]|夏[季天]|田[间径]|汤[药]|周[围身边期岁前后内]"
    "|孔[径]|段[落]|梁[骨]|林[区]|顾[虑及]|武[器警]|叶[间]|杨[梅]|施[行加用]|葛[根]|肖[像]|庄[重]|霍[乱奇]|丁[酸]|江[水苏西]|梅[毒]|何[种时处物况]|余[下留处各部未无均]|章[节]|温[度]"
    "|[\u4e00-\u9fff]{0,2}[咳嗽痛吐血肿瘤胸腹颈腰骨肺肝肾术治疗检查诉觉疼痹炎症病伤史热痰喘晕泻便尿麻胀醒迷位])"
)
# Surnames that begin too many other words: they count only before a sex or an age.
RARE_SURNAME = "[于方金白康史常文毛龙严向左齐安]"
KNOWN_NAME = rf"(?:{NO_SURNAME}{SURNAME}(?!某)[\u4e00-\u9fff]{{1,2}}(?:(?=[男女])|(?![\u4e00-\u9fff])))"
# Where other characters follow, which an expression has to name: a name has no end of its own there.
NAME_IN_SENTENCE = rf"(?=[\u4e00-\u9fff])(?:{NO_SURNAME}{SURNAME}(?!某)[\u4e00-\u9fff]{{1,2}}?)"
AGED_NAME = rf"(?:(?=[\u4e00-\u9fff]){KNOWN_NAME}|{RARE_SURNAME}[\u4e00-\u9fff]{{1,2}}(?![\u4e00-\u9fff]))"
GIVEN_NAMES = (  # common ones of several countries, in small letters
    r"aaron|adam|ahmed|aisha|alan|albert|alexander|ali|alice|amanda|amy|ana|andrea|andrew|angela|anna|anne|anthony"
    r"|antonio|arthur|barbara|benjamin|bernd|betty|bob|brandon|brenda|brian|bruce|carl|carlos|carol|caroline"
    r"|catherine|charles|charlotte|chris|christina|christine|christopher|claudia|cynthia|dan|daniel|david|deborah"
    r"|dennis|diana|diane|donald|donna|dorothy|douglas|edward|elena|elizabeth|ellen|emily|emma|eric|eva|evelyn"
    r"|fatima|fernando|frances|francis|frank|gary|george|gerald|gloria|gregory|hannah|hans|harold|heather|helen"
    r"|henry|howard|isabel|jack|jacob|james|jane|janet|janice|jason|jean|jeffrey|jennifer|jeremy|jessica|joan|joe"
    r"|john|jonathan|jorge|jose|joseph|joshua|joyce|juan|judith|judy|julia|julie|karen|katherine|kathleen|keith"
    r"|kelly|kenneth|kevin|kimberly|larry|laura|lauren|lawrence|linda|lisa|louis|lucas|lucia|luis|madison|manuel"
    r"|margaret|maria|marie|marilyn|mario|martha|martin|mary|matthew|megan|melissa|michael|michelle|miguel|mohamed"
    r"|mohammed|monica|nancy|natalie|nathan|nicholas|nicole|nina|noah|nora|olga|oliver|olivia|pamela|patricia"
    r"|patrick|paul|paula|pedro|peter|petra|philip|pierre|rachel|ralph|raymond|rebecca|richard|robert|roberto|roger"
    r"|ronald|rosa|roy|russell|ruth|ryan|samantha|samuel|sandra|sara|sarah|scott|sean|sergio|sharon|shirley|simon"
    r"|sofia|sophia|stefan|stephanie|stephen|steven|susan|teresa|theresa|thomas|timothy|tyler|victor|victoria"
    r"|vincent|virginia|walter|wayne|wei|wendy|william|yolanda|zachary"
)
