"""Provides regular expressions for names of persons in English and Chinese texts, for `identifiers.py`.

Every repetition in them is bounded, so that no text takes long to search.
"""

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
PERSON_WORD = rf"{NO_PERSON}[A-Z][A-Za-z'’-]{{1,30}}"
PERSON = rf"{PERSON_WORD}(?:,? {NO_PERSON}[A-Z][A-Za-z.'’-]{{0,30}}){{1,3}}"
SURNAME = (
    "(?:欧阳|司马|上官|诸葛|皇甫|尉迟|公孙|慕容|令狐|司徒|"
    "[王李张刘陈杨赵黄周吴徐孙胡朱高林郭马罗梁宋郑谢韩唐冯董萧程曹袁邓许傅沈"
    "曾彭吕苏卢蒋蔡贾丁魏薛叶阎潘杜夏钟汪田任姜范石姚谭廖邹熊陆郝孔崔邱秦江顾侯邵孟万段雷钱汤尹黎易武乔贺赖龚])"
)
NO_SURNAME = (
    "(?!高[血热龄烧脂度危位]|黄[疸染色斑疽]|张[口力开]|陈[旧述诉]|马[上蹄]|石[膏棉]|程[度序]|任[何意]|江湖|万一|雷[诺击]"
    "|易[感疲怒激]|胡[言须]|曾[经有患因行在于做]|夏[季天]|田[间径]|汤[药]|周[围身边期岁前后内]"
    "|孔[径]|段[落]|梁[骨]|林[区]|顾[虑及]|武[器]|叶[间]|杨[梅])"
)
KNOWN_NAME = rf"(?:{NO_SURNAME}{SURNAME}(?!某)[\u4e00-\u9fff]{{1,2}}(?:(?=[男女])|(?![\u4e00-\u9fff])))"
