"""Recognizes by its name what a column of a table holds of a person, in English and Chinese.

The kinds follow the identifiers of the HIPAA Safe Harbor rule (45 CFR 164.514(b)(2)) and the attributes that the DICOM
Basic Application Level Confidentiality Profile (PS3.15, Annex E) removes or replaces: IDs and UIDs are replaced, which
keeps rows of a patient together, and all else is left out.
"""

from __future__ import annotations

import functools
import re

from hub_datasets.texts.patient_ids import PATIENT_COLUMNS, STUDY_COLUMNS, fold, places

# What becomes of a column of a kind: its values are published as keyed hashes, or it is left out.
HASHED = ("patient_id", "study_id", "uid", "file_name")
TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
PEOPLE = (
    "patient|pat|pt|first|last|full|given|family|middle|maiden|mother|father|parent|guardian|subject|participant"
    "|person|client|contact|relative|spouse|kin|sur|fore|user|owner|member|insured|subscriber|nick|preferred|legal"
    "|birth"
)
STAFF = (
    "physician|doctor|radiologist|radiographer|surgeon|dentist|technologist|technician|nurse|clinician|dermatologist"
    "|pathologist|cardiologist|ophthalmologist|orthopedist|practitioner|transcriptionist|referrer|operator"
)
STAFF_IN = re.compile(rf"{STAFF}|reader|reviewer|annotator|grader")
JUDGED = frozenset(
    places(
        "grade grades score scores label labels diagnosis note notes report impression comment comments finding "
        "findings confidence rating count agreement annotation annotations text opinion"
    )
)
# Of a name's letters and digits. The first that is found decides.
FOLDED = (
    ("", r"sopclassuid|transfersyntaxuid|birthweight|birthorder|birthlength|stillbirth|childbirth|coding\w*|(?:echo"
         r"|exposure|repetition|inversion|trigger|reaction|survival|followup|scan|acquisition)(?:time|duration)\w*"),
    ("birth_date", r"birth\w*|\w*(?:dateof|year|month|day)birth|\w*birth(?:date|day|year|time|place|dt)\w*|born\w*"
                   r"|\w*dob|dob\w*"),
    ("email", r"\w*e?mail(?:address)?\d?"),
    ("phone_number", r"\w*(?:phone|cellphone|faxn)\w*|(?:home|work|mobile|cell|contact)?(?:tel|mobile|fax|pager)(?:no"
                     r"|num|number|nr)?\d?|emergencycontact\w*|contact(?:info|number|no)?"),
    ("national_id", r"\w*(?:socialsecurity|nationalid|idcard|identitycard|citizenid|nhsn\w*|passport"
                    r"|driver'?s?licen|drivinglicen|licenseplate|licenceplate|taxid|aadhaar|personnummer)\w*|ssn\w*|\w*ssn|idnumber|identitynumber"
                    r"|nin|nric"),
    ("insurance_number", r"\w*(?:insurance|medicare|medicaid|healthplan|beneficiary|policyn|policyid|memberid"
                         r"|subscriberid)\w*"),
    ("account", r"\w*(?:account(?:no|num|number|id)|wechat|weixin|whatsapp|telegram|username|userid|creditcard"
                r"|bankcard)\w*|qq|account"),
    ("address", r"\w*address\w*|(?:home|patient|current)?(?:street|city|town|village|county|suburb|zip|zipcode"
                r"|postcode|postalcode|postal|residence)\w{0,4}"),
    ("staff_name", rf"\w*(?:{STAFF})s?(?:of\w*|id|name|names|fullname|lastname|firstname|code|s)?\d?|(?:referring"
                   r"|attending|reader|author|signer|provider|consultant|requester|gp|reviewer|annotator|reporter"
                   r"|grader)(?:name|id|s)?\d?|\w*(?:report|read|sign|dictat|verifi|approv|transcrib|perform|request"
                   r"|order|review|interpret|prescrib)(?:ed|ing)?by\w*"),
    ("device", r"\w*serial(?:n|num|number|no|id)\w*|\w*deviceserial\w*|stationname|\w*deviceid\w*|scannerid"
               r"|equipmentid"),
    ("record_number", r"\w*mrn|mrn\w*|\w*medicalrecord(?!s?text)\w*|(?:hospital|chart|record|emr|ehr|empi|bed|room"
                      r"|ward|visitor|certificate)(?:no|num|number|nr|id)|emr|ehr|empi"),
    ("institution", r"(?:hospital|institution|institutional|clinic|facility|institute)(?:name|code|site"
                    r"|departmentname)?s?"),
    ("person_name", rf"\w*(?:{PEOPLE})s?names?\d?|nameof(?:the)?(?:patient|person)|name|surname|names|initials"
                    r"|patientsname|alias"),
    ("url", r"\w*url|website|homepage"),
    ("uid", r"\w*uid"),
    ("file_name", r"images?(?:path|file|filename|name|id|no)?s?|file(?:name|path|names|paths)?s?|(?:path|filepath)s?"
                  r"|dicom(?:path|id|file)|img(?:id|path|file|name)?|(?:dcm|png|jpg)(?:path|file)|source(?:file|path)"
                  r"|study(?:path|folder)|folder(?:name)?|director(?:y|ies)"),
)  # fmt: skip
KINDS = tuple((kind, re.compile(expression)) for kind, expression in FOLDED)
# Parts of Chinese names of columns, in the order in which they are looked for; `` for what only looks alike.
CHINESE = (
    ("", "出生体重 出生身长 重复时间 回波时间 曝光时间 扫描时间 意见 评分 描述 印象 所见 时间分辨"),
    ("staff_name", "医师 医生 大夫 报告者 报告人 审核者 审核人 技师 护士 操作者 操作员 操作人 申请人 检查者 检查人 "
                   "诊断者 书写者 签名 签发 主任 记录者 阅片者 阅片人 录入人"),
    ("birth_date", "出生日 出生年 出生时 生日"),
    ("phone_number", "电话 手机 联系方式 传真"),
    ("address", "住址 地址 籍贯 户籍 户口 邮编 邮政编码 工作单位 现住 出生地 街道 所在地 住所"),
    ("email", "邮箱 邮件"),
    ("insurance_number", "医保 社保 保险 农合"),
    ("account", "微信 银行卡 账号 帐号 卡号"),
    ("national_id", "身份证 证件 护照 军官证 社会保障号"),
    ("record_number", "病历号 病案号 住院号 门诊号 登记号 就诊卡 诊疗卡 就诊号 床号 病床 病历编号 病案编号 住院编号 "
                      "门诊编号 健康卡 体检号 急诊号 病历编码 病房"),
    ("person_name", "姓名 名字 联系人 家属 监护人 曾用名"),
    ("institution", "医院 机构名"),
    ("device", "序列号 设备号 机器号 设备编号"),
    ("date", "日期 检查时间 报告时间 审核时间 登记时间 入院时间 出院时间 就诊时间 申请时间"),
    ("file_name", "图像路径 图片路径 文件名 文件路径 影像路径 图像名 图片名 图像文件 图片文件"),
)  # fmt: skip
CHINESE_KINDS = tuple((kind, tuple(parts.split())) for kind, parts in CHINESE)
CHINESE_FILES = ("图像", "图片", "影像", "文件", "路径")
DATE_WORDS = {"date", "dates", "datetime", "timestamp"}
DATES = re.compile(r"(?:study|series|exam|content|visit|report|scan|admission|admit|discharge|acquisition|death"
                   r"|instancecreation|surgery|biopsy|collection)(?:date|time|datetime|day)")  # fmt: skip
RECORD_COLUMNS = frozenset(
    places(
        "mrn medical_record_number medical_record_no medical_record_id hospital_number hospital_no chart_number "
        "chart_no 病历号 病历编号 病案号 病案编号 住院号 门诊号 登记号 就诊卡号"
    )
)
NAME_COLUMNS = frozenset(places("patient_name 患者姓名 病人姓名 姓名"))


@functools.lru_cache(4096)  # JSON rows may have any number of names
def kind_by_name(path: str) -> str:
    """Returns what a column holds by its name; empty if that does not tell.

    Args:
        path: name of the column; of a value inside another, the names joined by dots: `patient.name`.
    """
    parts = path.split(".")
    for name in dict.fromkeys((parts[-1], "".join(parts[-2:]))):
        if kind := kind_of(name):
            return kind
    return ""


def kind_of(name: str) -> str:
    """Returns what a single name tells."""
    folded = fold(name)
    if folded in NAME_COLUMNS:
        return "person_name"
    if folded in RECORD_COLUMNS:
        return "record_number"
    if folded in PATIENT_COLUMNS:
        return "patient_id"
    if folded in STUDY_COLUMNS:
        return "uid" if folded.endswith("uid") and not folded.startswith("study") else "study_id"
    if not folded.isascii():
        if folded in CHINESE_FILES:
            return "file_name"
        return next((kind for kind, parts in CHINESE_KINDS if any(part in folded for part in parts)), "")
    words = {token.casefold() for token in TOKEN.findall(name)}
    if words & JUDGED and STAFF_IN.search(folded):
        return ""  # `radiologist_report` is not the radiologist
    for kind, expression in KINDS:
        if expression.fullmatch(folded):
            return kind
    return "date" if words & DATE_WORDS or DATES.fullmatch(folded) else ""
