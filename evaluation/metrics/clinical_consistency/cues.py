"""Marks the words of a sentence that deny, doubt or affirm a finding, and those that end the reach of such a word.

The findings of the sentence are marks already, one character each. A cue becomes a mark as well, of one of these kinds:

- `NO`, `MAYBE` and `YES` reach forward, to the next cue of these kinds or the end of the clause;
- `WAS_NOT`, `WAS_MAYBE` and `WAS` reach back, over the list of findings before them;
- `NO_EITHER` and `MAYBE_EITHER` reach forward if a finding follows in their clause, otherwise back;
- `UNSURE` makes all findings of the clause uncertain, whatever other cues say of them;
- `FLIP` turns present and absent around in its clause ("it is not true that there is no ...");
- `SAME` stands for a statement about change, which says that a finding is there ("no change in the effusion");
- `CLAUSE` ends a clause.

Rules are applied in order, so that "cannot be excluded" is read before "excluded", and "no change" before "no".
"""

from __future__ import annotations

import re

# Characters of a private area of Unicode; those from FIRST on stand for the findings of a sentence.
NO, MAYBE, YES, WAS_NOT, WAS_MAYBE, WAS, NO_EITHER, MAYBE_EITHER, UNSURE, FLIP, SAME, CLAUSE, SIDE, SEVERITY, SIZE = (
    chr(0xE000 + number) for number in range(15)
)
REPEAT = chr(0xE00F)  # "none" and "not": the finding before it once more
FIRST = 0xE100
MOST_FINDINGS = 0xF8FF - FIRST + 1  # in one sentence
FOUND = f"[{chr(FIRST)}-{chr(0xF8FF)}]"

_BE = r"(?:is|are|was|were|be|been|being|appears?|remains?|seems?|looks?)"
_HAVE = r"(?:has|have|had)"
_MODAL = r"(?:should|may|might|could|can)"
# No word may stand twice in what a star repeats, nor in two stars side by side: the time would grow faster than a text.
_FILLER = (
    r"any|a|an|the|of|in|to|for|there|as|clearly|significantly|appreciably|entirely|yet|completely|definitely|fully|"
    r"safely|reliably|further|previously|substantially|markedly"
)
_SMALL = rf"(?:{_FILLER}|be|been|being|is|are)"
_SEEN = (
    r"(?:seen|present|identified|visible|visualized|visualised|shown|evident|detected|noted|"
    r"found|demonstrated|appreciated|observed|apparent|depicted|recognized)"
)
_CHANGE = (
    r"(?:changes?|increases?|decreases?|progression|enlargement|improvement|worsening|growth|"
    r"resolution|differences?|expansion|regression|reduction|deterioration|clearing|healing|"
    r"evolution)"
)
_CHANGED = (
    r"(?:changed|increased|decreased|progressed|enlarged|improved|worsened|grown|resolved|"
    r"cleared|healed|expanded|regressed|evolved|deteriorated|disappeared|altered|shrunk)"
)
_DEGREE = (
    r"(?:significant|appreciable|interval|substantial|obvious|major|apparent|clear|"
    r"definite|real|notable|relevant|evidence of|convincing|discernible|new)"
)
_ABSENT_ZH = r"(?:没有|没见|无(?!法)|未见|不存在|未发现|未显示|不伴有?|不包含|不含)"
_DEGREE_ZH = r"(?:明显|显著|明确|较大|太大|再|继续|任何|进一步|完全|全部)?"
_NOT_SEEN_ZH = r"(?:没有|无|未显示|未发现|未见(?:显示|明确|明显)?|不存在|不明显|未及|未探及)"
_CHANGE_ZH = (
    r"(?:变化|改变|增大|增多|增加|扩大|减少|缩小|减小|进展|加重|好转|吸收(?:好转)?|消失|愈合|"
    r"改善|差异|恶化|减轻|消散|缓解)"
)

_RULES: list[tuple[str, str]] = [
    # ---- statements about a statement
    (
        FLIP,
        r"(?:it (?:is|was|would be) )?(?:not true|wrong|incorrect|false|untrue|not correct|"
        r"a mistake)(?: to (?:say|claim|state|think))? that(?: there (?:is|are))?",
    ),
    (FLIP, r"(?<=[ ,])(?:is|was|are) (?:incorrect|false|wrong|untrue|not (?:true|correct|right))"),
    (FLIP, r"的?(?:说法|结论|判断)(?:不成立|错误|不正确|有误)|是(?:错误|错|不正确|不对)的"),
    (SAME, r"的?(?:说法|结论|判断)成立|是(?:正确|对)的"),
    # ---- uncertain although a negation stands there
    (UNSURE, r"(?:cannot|could not) (?:be )?(?:confirm|verif|assur|establish|ascertain)\w*"),
    (
        UNSURE,
        r"(?:cannot|could not) (?:say|claim|state|conclude|be sure|"
        r"be certain)(?: that)? there (?:is|are|was|were) no",
    ),
    (UNSURE, r"(?:不能|无法|难以)(?:说|认为|断言|肯定)(?:没有|无|不存在|未见)"),
    (
        WAS_MAYBE,
        rf"(?:{_BE} |{_HAVE} |can |could )*(?:not|cannot) (?:{_SMALL} )*(?:excluded|ruled out)",
    ),
    (
        MAYBE_EITHER,
        rf"(?:do(?:es)? not|did not|cannot|could not|unable to|(?:{_BE} )?(?:difficult|hard|impossible) to) "
        rf"(?:{_SMALL} )*(?:exclude|rule out)",
    ),
    (MAYBE_EITHER, r"(?:不能|不可|无法|未能|难以|未|不|尚不能|并未|不可以|没有)(?:完全)?(?:排除|除外|否定)"),
    (
        MAYBE,
        r"(?:it is )?(?:unclear|uncertain|unknown|not (?:clear|known)|questionable) (?:whether|if)"
        r"(?: there (?:is|are))?",
    ),
    (WAS_MAYBE, r"待(?:排除|除外|排|查)"),
    (
        UNSURE,
        r"[?]|(?:cannot|unable to|difficult to|hard to|not sure|not certain) ?(?:tell|determine|say|"
        r"decide)? (?:if|whether)(?: there (?:is|are))?",
    ),
    (UNSURE, r"(?:不敢|不能|无法|难以|尚不能|不)(?:肯定|确定)|有无|不好说|不见得|待[^，。]{0,8}(?:证实|确诊|明确)"),
    (SAME, r"without (?:a |any )?doubt|undoubtedly|毫无疑问|无疑"),
    (YES, r"(?:it )?cannot be denied that|(?:无可|不可|不能|无法)否认"),
    (NO, r"(?:it )?(?:can|could) be denied that(?: there (?:is|are))?"),
    # ---- change
    (
        SAME,
        rf"(?:no|without|not) (?:(?:{_DEGREE}|{_SMALL}) )*{_CHANGE}(?: (?:in|of))?(?: the)?"
        r"(?: (?:size|position|appearance|extent|amount|number|degree))?(?: and (?:size|position|appearance|extent))?"
        r"(?: of)?(?: the)?",
    ),
    (SAME, r"(?:partial|incomplete|near[- ]complete|slow) (?:interval )?resolution(?: of)?"),
    (NO, r"(?:(?:interval|complete|full|total) )*(?:resolution|removal) of(?: the)?"),
    (SAME, rf"(?:{_BE} |{_HAVE} )?not (?:{_SMALL} )*{_CHANGED}"),
    (
        SAME,
        r"neither (?:larger|smaller|increased|decreased|better|worse) nor (?:larger|smaller|"
        r"increased|decreased|better|worse)",
    ),
    (SAME, r"\bun(?:changed|improved|healed|resolved)\b|(?<![a-z])stable"),
    (SAME, rf"{_HAVE} not(?= *(?:[.,;]|$))"),
    (NO, rf"no longer(?: an?)? *(?={FOUND})"),
    (WAS_NOT, rf"(?:{_BE} )?no longer(?: {_SEEN})?"),
    (
        WAS_NOT,
        rf"{_HAVE} (?:since |now |completely |entirely |fully )*(?:resolved|cleared|disappeared|"
        rf"healed)|(?:is|are) (?:now )?gone|(?:(?:has|have|had) been |was |were )(?:\\w+ )?removed",
    ),
    (NO_EITHER, r"resolved"),
    (SAME, rf"(?:较前|较前片|较前次)?(?:并无|尚未|均未|未见|没有|未|无|不)(?:见)?{_DEGREE_ZH}{_CHANGE_ZH}"),
    (SAME, r"(?:大小|位置|范围)?(?:较前(?:片|次)?)?变化(?:不明显|不大|甚微)"),
    (SAME, r"(?:尚?未|没有?|不)(?:完全|全部|再)?(?:消失|排出|取出|拔除)"),
    # A sulcus or an angle disappears as well: what does must stand in front.
    (
        WAS_NOT,
        rf"(?<={FOUND})(?:影|灶|征象?)?(?:较前(?:片|次)?|本次|现|已|均|基本|完全|全部)*(?:消失|不复存在|排出|取出|拔除)",
    ),
    # 原右肺结节，本次未见: the comma is part of the cue, so that it reaches the finding before it.
    (WAS_NOT, rf"[，,] ?(?:本次|此次|现|目前|今)(?:检查|片)?(?:已)?{_NOT_SEEN_ZH}(?= *(?:[.,;，。]|$))"),
    (WAS_NOT, r"已?(?:不再可见|不再显示|不复存在)|(?:已|基本|完全)(?:吸收|消失|消散|愈合?)|痊愈"),
    (SAME, r"未愈"),
    # ---- two negations
    (
        YES,
        rf"(?:{_BE} )?(?:not|never) (?:{_SMALL} )*(?:without|free (?:of|from)|negative for|"
        rf"devoid of|clear of|(?:lack|absence) of)",
    ),
    (YES, r"(?:no|not an?) (?:lack|absence) of|cannot deny|not only"),
    (WAS, rf"(?:{_BE} )?(?:not|never) (?:absent|denied|missing)"),
    (YES, rf"(?:并非|并不是|不是|绝非|非|不)(?:是)?{_ABSENT_ZH}|不无|未否认|不仅仅?有?|不但有?|不只有?"),
    # ---- denied
    # 右侧积液，左侧未见: the clause has a side and no finding.
    (
        REPEAT,
        rf"(?:(?<=[，,;、]{SIDE})|(?<=^{SIDE}))(?:肺野?|肾|侧|叶|膝|胸腔|胸膜腔|则|均|亦|也)*{_NOT_SEEN_ZH}"
        r"(?= *(?:[.,;，。]|$))",
    ),
    (WAS_MAYBE, rf"{_BE} not (?:yet )?(?:confirmed|established|certain|proven)"),
    (MAYBE_EITHER, r"未(?:能|经)?(?:证实|确诊|明确)"),
    (
        WAS_NOT,
        rf"(?:则|均|都|已|现|亦|也|尚)*{_NOT_SEEN_ZH}(?= *(?:[.,;，。)、]|$))|\( ?[-−–] ?\)|-free|(?:no|"
        r"none|not)(?= *(?:[.,;]|$))",
    ),
    (WAS, r"\( ?\+{1,3} ?\)"),
    (REPEAT, rf"(?<![a-z])(?:none(?= (?:on|in|at))|not(?= (?:on|in) (?:the )?{SIDE}))"),
    (
        NO,
        r"(?:no|without|negative for|lack of|absence of)(?: (?:(?:any|convincing|radiographic|clear|"
        r"acute|definite|significant|sonographic|obvious|apparent) )*(?:evidence|signs?|suggestion|"
        r"indication|sonographic evidence)(?: of| for)?)",
    ),
    (NO, r"(?:no|without)(?: [a-z]+){1,4} (?:to (?:suggest|indicate)|suggesting|suggestive of|indicating)"),
    (
        NO,
        r"nothing (?:to (?:indicate|suggest)|suggesting|indicating)|(?:free|clear|devoid) (?:of|"
        r"from)|negative for|(?:lack|absence) of|fails? to (?:show|reveal|demonstrate)|rather than|"
        r"instead of",
    ),
    (NO, r"(?:does|do|did) not (?:have|show|represent|reveal|demonstrate|contain|indicate|suggest|confirm)"),
    (WAS_NOT, rf"{_BE} (?:not|never) (?:{_SMALL} )*{_SEEN}|(?:not|never) (?:{_SMALL} )*{_SEEN}"),
    (WAS_NOT, rf"(?:(?:{_BE}|{_HAVE}|{_FILLER}) )*(?:absent|excluded|ruled out|denied|negative)(?! for)"),
    (NO, r"(?:exclud(?:es?|ing)|rul(?:es?|ing) out|den(?:y|ies)|lacks?|lacking)"),
    (
        NO,
        r"(?:definite(?:ly)? )?(?:no|not|without|neither|nor|never|none of|cannot)"
        r"(?: (?:definite|convincing|clear|focal))*",
    ),
    (WAS_NOT, r"阴性"),
    (NO_EITHER, r"(?:已|可以?|能够?|得以|完全)*(?:排除|除外|否认|否定)有?"),
    (
        NO,
        rf"{_ABSENT_ZH}(?:到|有|任何|明确|确切|明显|显著)*|未及|未探及|未提示|不见|缺乏|不支持|不考虑|看不[到见]|"
        rf"未看[到见]|并无|并没有|并非|并不是?|不是|非(?={FOUND})|不(?={FOUND})",
    ),
    # ---- doubted
    (
        WAS_MAYBE,
        rf"(?:{_BE}|{_MODAL}) (?:(?:{_BE}|{_MODAL}|{_FILLER}) )*(?:possible|probable|likely|"
        rf"suspected|questioned|questionable|doubtful|uncertain|unclear|favored|favoured|equivocal|"
        rf"considered|conceivable|suspicious|unlikely)(?! (?:for|of))",
    ),
    (
        WAS_MAYBE,
        rf"(?:may|might|could) be {_SEEN}|(?:{_BE} )?(?:in|on) the differential|"
        rf"{_BE} (?:also )?(?:an? |in )?(?:possibility|consideration|concern|question)|(?:{_BE} )?(?:the |"
        rf"a )?(?:leading|main|first|primary|differential) (?:consideration|diagnosis|possibility)",
    ),
    (UNSURE, r"versus|vs"),
    (
        MAYBE,
        r"(?:possib(?:le|ly|ility of)|probab(?:le|ly)|likely|unlikely|suspected|suspicious|"
        r"suspicion|questionable|question of|equivocal|concern(?:ing)?|worrisome|suggestive|"
        r"suggest(?:s|ing)?|may|might|could|consider|raises? the|doubtful|favou?r(?:s|ing|ed)?|"
        r"suspect|differential)(?: (?:for|of|to|a|an|be|been|represent|reflect|indicate|there|possibility))*",
    ),
    (
        MAYBE_EITHER,
        r"可能(?:性(?:较?大)?|存在|为|是|有)?|可疑|疑似|疑诊|疑有|怀疑|疑|似乎?见?|考虑|倾向于?|"
        r"或为|警惕|(?:是否有|尚)*不确定|不明确",
    ),
    # ---- affirmed
    (
        WAS,
        rf"{_BE} (?:{_SMALL} )*(?:again |now |still )*(?:{_SEEN}|definite|confirmed|established|"
        rf"certain|positive)|persists?|(?<![a-z])(?:seen|noted|identified)(?= *(?:[.,;]|$))",
    ),
    (
        YES,
        r"there (?:is|are|was|were)|positive for|definite(?:ly)?|confirmed|shows?|reveals?|"
        r"demonstrates?|ha(?:s|ve|d)|contains?|represents?|diagnostic of|but also|persistent|still|"
        r"except(?: for)?|apart from|other than|besides|aside from|consistent with",
    ),
    (WAS, r"阳性|明确(?=[,。;]|$)"),
    (YES, r"可见|仍见|但见|则见|见|有|存在|伴有?|显示|发现|包含|确诊|证实|明确|承认|肯定|提示|符合"),
    # ---- ends of a clause
    (CLAUSE, r"(?:but|however|although|though|whereas|while|yet)"),
    (CLAUSE, r"[.;!?]|但是?|然而|而且?"),
    (CLAUSE, rf",(?= ?(?:and )?{SEVERITY})"),
    (CLAUSE, r"，"),
]


def _compiled(pattern: str) -> re.Pattern[str]:
    """Keeps an English cue apart from the letters beside it."""
    return re.compile(rf"(?:(?<![a-z])(?=[a-z])(?:{pattern})(?![a-z])|(?![a-z])(?:{pattern}))")


RULES = [(mark, _compiled(pattern)) for mark, pattern in _RULES]


def mark_cues(sentence: str) -> str:
    """Replaces the cues of a sentence in lower case, whose findings and their details are marks already, by marks."""
    for mark, pattern in RULES:
        sentence = pattern.sub(mark, sentence)
    return sentence
