"""Defines how English reports word what their image cannot show. All patterns are for text in lower case."""

from __future__ import annotations

import re

from hub_datasets.texts.grounding.rules import Rule, word_rule

COUNT = r"(?:\d+|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|several|few|many|couple of)"
MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
YEAR = r"(?:19|20)\d\d"
EARLIER = r"(?:prior|previous|earlier|preceding|last|old|older|outside|recent|initial)"
STUDY = (
    r"(?:stud(?:y|ies)|exam(?:ination)?s?|radiographs?|films?|scans?|images?|imaging|x-?rays?|ct|cts|mri|mris|reports?"
    r"|mammograms?|ultrasounds?|chest|comparisons?|evaluations?|views?)"
)
SIZE = r"(?:significant(?:ly)?|interval|appreciabl[ey]|substantial(?:ly)?|definite|obvious|further|major|overall|real)"
PROCEDURE = (
    r"(?:surger(?:y|ies)|operations?|\w+(?:ectomy|ectomies|plasty|plasties|otomy|ostomy)|resection|transplant\w*)"
)
THERAPY = r"(?:chemotherapy|radiotherapy|radiation(?: therapy)?|immunotherapy|chemoradiation|irradiation|treatment)"

# What a report advises or makes depend on something is not said of the image: "biopsy is recommended", "correlate with
# symptoms", "if there is no improvement". It reaches to the end of the clause.
ADVICE = re.compile(
    r"\b(?:if|unless|recommend(?:s|ed|ing|ation)?|advised?|consider|correlat(?:e|ion|ing)) (?:(?!given\b|because\b"
    r"|due to\b)[^,;.])*"
)

RULES: tuple[Rule, ...] = (
    word_rule(
        "comparison",
        [
            "unchanged", rf"(?:no|without|little|minimal) (?:{SIZE} )*change",
            rf"(?:no|without) (?:{SIZE} )*interval changes?",
            r"(?:has|have|had) (?:not |also |further |slightly |markedly |significantly |mildly |partially |partly "
            r"|completely |nearly |almost |since |again |now )*(?:changed|grown|regressed|progressed|resolved"
            r"|diminished|cleared|developed|shrunk|migrated|worsened|appeared|disappeared"
            r"|(?:increased|decreased|enlarged|improved)(?= (?:in|since|from|compared|slightly|over|on|by|and"
            r"|with)\b|[.,;)]|$))",
            r"(?:has|have) been (?:removed|placed|withdrawn|advanced|repositioned|exchanged|retracted|extubated)",
            r"there (?:has|have) been", "interval(?:ly)?", "stable", "stability", r"compar(?:ed|ing) (?:with|to)",
            r"in comparison", r"(?:for|available|availabe) comparison",
            r"comparison (?:is|was|made|with|to|stud(?:y|ies)|exam\w*|films?|radiographs?|available)", r"comparison:",
            rf"relative to (?:the |an? )?{EARLIER}", "since", rf"{EARLIER} (?:\w+ ){{0,3}}{STUDY}", "previously",
            r"(?:previous|prior)ly (?:seen|noted|described)",
            r"again (?:seen|noted|demonstrated|identified|visuali[sz]ed|shown|present|evident|observed|is|are)",
            r"(?:is|are|once|seen|noted) again", r"once more", r"redemonstrat\w+", r"re-?demonstrat\w+",
            r"new(?:ly)?", r"worse(?:n\w*)?", r"improv(?:ed|es|ing|ements?)", r"progress(?:ed|es|ing|ion|ively|ive)",
            r"resol(?:ved|ves|ving|ution)",
            r"(?:in|de)creas(?:ing|ed) (?:in (?:size|extent|number|conspicuity|volume)|from|since|over|compared)",
            r"(?:in|de)creasing", "enlarging", "evolving", "evolution", "diminishing", "remains?", "remained",
            r"persist(?:s|ed|ent|ently|ing|ence)?", r"as before", r"than before",
            rf"than (?:on |in )?(?:the )?{EARLIER}",
            rf"(?:similar|identical) (?:in \w+ )?to (?:the |that |those )?(?:on |of |in )?(?:the )?(?:{EARLIER}"
            rf"|before)",
            r"no longer", r"still (?:seen|present|visible|noted|evident|demonstrated|remains)",
            r"(?:in the |the )interim", r"(?:on|at) follow-?up",
            r"follow-?up (?:study|exam\w*|radiographs?|films?|images?) (?:shows?|demonstrates?|of)", "now",
            "continue[ds]?", r"continuing", r"cleared", r"(?:doubled|tripled|halved|shrank|shrunk)",
            r"in the meantime", r"status quo", "currently",
        ],
        [
            # stability of a structure, not over time
            r"an? (?:\w+ )?stable fractures?",
            r"stable (?:pelvic (?:ring|fracture)|pelvis|vertebral (?:body )?heights?|spine|joint|gait|vital)",
            r"(?:mechanically|h[a]?emodynamically|rotationally|vertically|clinically) stable",
            r"unchanged (?:normal )?anatomy",
            # two sides or structures in one image
            r"(?:compar(?:ed|ing) (?:with|to)|in comparison (?:with|to)) (?:that of )?(?:the )?(?:left|right"
            r"|contralateral"
            r"|opposite|other|normal|adjacent|healthy|unaffected|surrounding)",
            r"persist(?:ent|ing) (?:left )?(?:superior|svc|thymus|ductus|f[o]?etal|foramen|trigeminal|sciatic|primary"
            r"|cloaca|urachus|hypoglossal|truncus|müllerian)",
            r"progressive (?:massive|multifocal|supranuclear|systemic)", r"new (?:bone|york|vessels?)",
            r"(?:high|low|limited|poor|image|spatial|temporal|in)[- ]?resolution",
            r"(?:in|de)creasing (?:in size )?(?:from|toward|towards|peripherally|distally|proximally)", r"intervals",
            r"worse (?:on|in|at|of) the", r"newly formed", r"resolution of the (?:image|scan|picture|film)",
            r"comparison (?:\w+ ){0,5}(?:recommended|suggested|advised)",
        ],
    ),
    word_rule(
        "history",
        [
            "history", "histories", "hx", r"h/o", "status[- ]post", r"s/p", "known", "underwent", "undergone",
            "undergoing", r"(?:was|were|been) (?:previously )?treated", r"treated (?:with|by|for)",
            r"under treatment",
            rf"(?:after|following|before|during|despite|receiving|received|on|completed) (?:\w+ ){{0,2}}{THERAPY}",
            rf"post[- ]?{THERAPY} (?:for|of|patients?)", rf"(?:after|following) (?:\w+ ){{0,2}}{PROCEDURE}",
            rf"(?:prior|previous|earlier|recent|past|remote) (?:\w+ ){{0,2}}{PROCEDURE}",
            rf"(?:prior|previous|earlier|recent|past) (?:\w+ ){{0,2}}(?:{THERAPY}|infarct\w*|strokes?|tuberculosis"
            rf"|cancers?"
            r"|malignanc(?:y|ies)|procedures?|stent(?:s|ing)?|bypass|hospitali[sz]ations?|illness|pneumonia|falls?"
            r"|accident|disease)",
            rf"{PROCEDURE} for (?:\w+ ){{0,3}}(?:cancer|carcinoma|tumou?r|malignancy|melanoma|sarcoma|disease)",
            rf"{PROCEDURE} (?:was|were|had been|has been) (?:performed|done|carried out)",
            r"(?:ex-?|non-?)?smok(?:er|ers|es|ed|ing)",
            r"(?:alcohol|tobacco|drug|cocaine|heroin) (?:abuse|use|consumption|dependence)", "alcoholism",
            "hypertension", r"hypertensive (?:patients?|wom[ae]n|m[ae]n|male|female)", r"diabet(?:es|ic|ics)", r"hiv",
            "immuno(?:compromised|suppress(?:ed|ion))", r"(?:patients?|with|has|of|severe|chronic|and) asthma",
            "comorbidit(?:y|ies)",
            r"(?:patients?|who|she|he|woman|man|male|female|child) (?:fell|was involved|sustained|had (?:an?|his"
            r"|her|undergone"
            r"|surgery))",
            r"(?:has|have) had an?", r"been on",
            r"on (?:steroids?|anticoagula\w+|antibiotics?|warfarin|medication|dialysis|h[a]?emodialysis"
            r"|immunosuppress\w+)",
            r"motor vehicle", r"(?:car|traffic|road|bicycle|motorcycle|work) (?:accident|collision|crash)", r"mv[ac]",
            r"(?:after|following|due to|from|blunt|with|recent|penetrating) (?:an? |the )?(?:trauma|fall|accident"
            r"|injury"
            r"|assault)",
            r"fall (?:from|down|onto)", r"fell", r"indications?:", r"indication (?:is|was|for)",
            r"clinical (?:history|information|indication|data|details|context)",
            r"reason for (?:the )?(?:exam\w*|study|visit|referral|stud(?:y|ies)|imaging)",
            r"referred (?:for|by|with|to|because)",
            r"pre-?operative(?:ly)? (?:evaluation|exam\w*|assessment|study|chest|clearance)",
            r"admitted (?:for|with|to|after|because)", r"(?:asbestos|occupational|silica|tb|radiation) exposure",
            r"exposed to", r"exposure to", r"(?:transplant|transplantation) (?:recipient|patient)", r"risk factors?",
            r"operated (?:on|for)", r"alcoholic (?:patient|man|woman|male|female)",
            r"patients? (?:takes?|took|receives?|received|uses?)", r"recurrent (?:pneumonia|infections?|episodes?)",
            r"since (?:childhood|birth)", r"in the past", r"under therapy",
            "pregnan(?:t|cy)", "chemotherapy", "radiotherapy",
            r"(?:surgical|medical|supportive|drug|physical|conservative) (?:treatment|therapy)", "pharmacotherapy",
            r"medications?",
        ],
        [
            r"natural history", r"(?:well[- ])?known as",
            r"(?:pulmonary|portal|venous|intracranial|arterial) (?:arterial |artery |venous )?hypertension",
            r"(?:chemotherapy|radiotherapy|radiation) (?:port|reservoir|catheter|changes?|fibrosis|pneumonitis)",
            r"post[- ]?(?:radiation|radiotherapy|surgical|operative) changes?",
            r"(?:prior|previous|old|remote) (?:\w+ )?granulomatous (?:disease|infection|exposure|process)",
            r"(?:no|without) (?:\w+ ){0,2}evidence of (?:\w+ )?(?:trauma|injury)", r"as (?:is )?known",
        ],
    ),
    word_rule(
        "symptoms",
        [
            r"pain(?:s|ful|less|fully)?", r"(?:head|stomach|back|tooth|ear|belly)?aches?", "aching",
            r"itch(?:y|es|ed|ing|iness)?", r"prurit\w+", r"hurts?", "hurting", "bleeds", r"not bleed",
            r"(?:has|have|had|not) (?:\w+ )?bled",
            r"(?:easily|spontaneous|occasional|rectal|vaginal|nose|gum|frequent|intermittent) ?bleed(?:ing)?",
            "fevers?", "febrile", "afebrile", r"cough(?:s|ing|ed)?", r"dyspn\w+", r"short(?:ness)? of breath", "sob",
            r"wheez\w+", r"(?:chest )?tightness", "nause(?:a|ous|ated)", r"vomit(?:s|ing|ed)?", r"diarrh\w+",
            r"constipat(?:ion|ed)", r"dizz(?:y|iness)", "vertigo", "palpitations?", r"fatigued?", "tired(?:ness)?",
            r"(?:weight|appetite|hearing|memory|vision|visual|hair) loss",
            r"loss of (?:appetite|consciousness|weight|vision|hearing|sensation|smell|taste|memory)", "numb(?:ness)?",
            "tingling", r"(?:general(?:ized)? |muscle |limb |arm |leg )?weakness", r"h[a]?emoptysis",
            r"h[a]?ematuria", "melena", "soreness", r"sore throat", r"runny nose", "chills",
            r"(?:night )?sweat(?:s|ing)?", "malaise", "anorexia", "syncope", "seizures?", "convulsions?",
            r"(?:a|pre)?symptom\w*", r"complain(?:s|ed|ing|ts?)?", r"(?:non)?tender(?:ness)?",
            r"(?:blurred|blurry|double|impaired) vision", r"limp(?:s|ing|ed)", "hiccups?", "heartburn", "stinging",
            r"burning (?:and|or|of)",
            r"(?:unable|inability) to (?:bear|walk|move|stand|flex|extend|raise)", r"burning sensation",
            "discomfort", "insomnia",
            r"present(?:s|ed|ing) with", r"hoarse(?:ness)?", "dysphagia",
            r"difficulty (?:in )?(?:breathing|swallowing|walking|speaking|urinating)", r"altered mental status",
            "confusion", "tinnitus", r"arrh?ythmias?", r"visual impairment",
            "stiffness", "cramps?", r"unconscious(?:ness)?", r"irritab(?:le|ility)",
        ],
    ),
    word_rule(
        "age",
        [
            r"\d{1,3}[- ]?(?:years?|yrs?|months?|mos?|weeks?|wks?|days?)[- ](?:old|of[- ]age)",
            r"\d{1,3}[- ]?y[/.]?o", r"\d{1,3}[- ]?(?:yo|y/o|yr)[- ]?[mf]",
            rf"{COUNT}[- ](?:year|month|week|day)s?[- ]old", r"(?:[a-z]+ty)(?:-[a-z]+)?[- ](?:year)s?[- ]old",
            r"aged? (?:of |is |was )?(?:about )?\d{1,3}", r"age: ?\d{1,3}", r"aged (?:[a-z]+ty)(?:-[a-z]+)?",
            r"in (?:her|his|the|their) (?:\w+[- ])?(?:teens|twenties|thirties|forties|fifties|sixties|seventies"
            r"|eighties"
            r"|nineties)",
            r"decade of life", r"\d{1,3} ?y(?:rs?)?",
            r"(?:child|boy|girl|infant|patient|woman|man) of (?:\d+|[a-z]+) (?:year|month|week)s?", "elderly",
            "(?:octo|nona|septua|sexa)genarian", r"teenage(?:r|rs|d)?", r"adolescents?",
            r"toddlers?", r"middle[- ]aged",
            r"(?:young|older|old) (?:wom[ae]n|m[ae]n|patients?|adults?|lady|girl|boy|child|people|person)",
        ],
        [
            r"(?:bone|skeletal|gestational|menstrual|dental|fetal) age (?:\w+ ){0,5}(?:\d+|[a-z]+) (?:years?"
            r"|months?|weeks?)"
            r"(?: old)?",
            r"(?:bone|skeletal|gestational|dental) age", r"age[- ]related", r"for (?:the patient's |this |the )?age",
        ],
    ),
    word_rule(
        "sex",
        [
            r"(?:wo)?m[ae]n", r"(?:fe)?males?", r"girls?", r"boys?", r"lady", r"ladies", r"gentlem[ae]n", r"she",
            r"hers?", r"he", r"his", r"him", r"mr\. [a-z]+", r"(?:mrs|ms)\.? [a-z]+",
            r"gender", r"sex: ?[mf]", r"[mf], ?\d{1,3} ?y(?:rs?)?", r"\d{1,3}[- ]?(?:yo|y/o|yr)[- ]?[mf]",
        ],
        [
            r"(?:fe)?male (?:pelvi[sc]|breasts?|urethra|genital\w*|reproductive|anatomy|pattern|organs?|sex organs)",
            r"bundle of his", r"his bundle", r"her-?2(?:/neu)?", r"man-made",
        ],
    ),
    word_rule(
        "laboratory",
        [
            r"white (?:blood )?cells?", r"(?:red )?blood cell count", "wbc", r"leu[ck]ocyt(?:osis|es)",
            r"leu[ck]openia", r"lymphopenia", r"neutrop(?:hilia|enia)", "eosinophilia", r"c-reactive", "crp",
            "procalcitonin", r"h[a]?emoglobin", r"h[a]?ematocrit", "hgb", r"platelets?", r"thrombocytop\w+",
            "creatinine", "bun", "egfr", "troponins?", "bnp", r"d-?dimers?", "psa", "cea",
            r"ca[- ]?(?:19-9|125|15-3)", r"alpha-?fetoprotein", "afp", r"tumou?r markers?", "hcg", "serum", "lactate",
            "bilirubin", r"(?:amino)?transaminases?", "lipase", "amylase", "albumin", r"(?:blood |serum )?glucose",
            "hba1c", "cholesterol", r"triglycerides?", r"cultures?", r"(?:rt-)?pcr", r"serolog(?:y|ic|ical)",
            r"antibod(?:y|ies)", r"antigen", r"blood (?:tests?|counts?|gas|gases|sugar|work|results)",
            r"urine (?:tests?|analysis|sample)", "urinalysis",
            r"(?:laboratory|lab) (?:\w+ )?(?:tests?|values?|results?|findings|data|work-?up|studies|parameters)",
            "labs", r"inflammatory markers?", r"cardiac enzymes", r"liver (?:enzymes|function)", "esr",
            r"sedimentation rate", r"an[a]?emi[ac]", "tuberculin", "mantoux", "quantiferon", r"sp?o2",
            r"oxygen saturation",
            r"blood pressure", r"bp \d+", r"heart rate", r"vital signs",
            r"\d+(?:\.\d+)? ?(?:mg/dl|g/dl|ng/ml|mmol/l|iu/l|u/l|mg/l|g/l|pg/ml)", r"tested (?:positive|negative)",
            r"(?:positive|negative) (?:test|for (?:covid|sars|influenza|tb|hiv))",
            r"hypo(?:natr|kal|calc|glyc)[a]?emia", r"hyper(?:natr|kal|calc|glyc|lipid)[a]?emia",
        ],
        [r"glucose (?:metabolism|uptake|hypermetabolism)", r"fluorodeoxyglucose"],
    ),
    word_rule(
        "biopsy",
        [
            r"biops(?:y|ies|ied)", r"histolog(?:y|ic|ical|ically)", r"histo-?patholog(?:y|ic|ical|ically|ist)",
            r"cytolog(?:y|ic|ical|ically)", r"cytopatholog\w+",
            r"patholog(?:y|ical|ically|ic) (?:was|were|is|report\w*|results?|specimen|examination|exam|diagnosis|proven"
            r"|confirm\w*|show\w*|reveal\w*|demonstrat\w*|proof|consistent|stage|staging)",
            r"(?:on|by|at|surgical|final|from) pathology", r"fine[- ]needle", "fna", r"needle aspirat\w+",
            r"immunohisto\w+", r"microscop(?:y|ic|ically)",
            r"(?:surgical|tissue|resection|resected|punch|shave|excision(?:al)?) specimens?", r"pathology:",
        ],
        [
            r"biopsy (?:clips?|markers?|sites?|tracts?|needles?|scar|cavity)",
            r"(?:recommend\w*|advis\w+|consider\w*|suggest\w*|requires?|needs?"
            r"|warrants?) (?:\w+ ){0,4}(?:biops(?:y|ies)"
            r"|histology|cytology|fine[- ]needle \w+|histologic \w+)",
            r"(?:biops(?:y|ies)|histology|cytology|fine[- ]needle \w+) (?:\w+ ){0,5}(?:recommended|advised"
            r"|considered|suggested"
            r"|required|needed|warranted|necessary|indicated)",
        ],
    ),
    word_rule(
        "date",
        [
            r"\d{1,2}([/.-])\d{1,2}\1(?:19|20)?\d\d", rf"{YEAR}[/.-]\d{{1,2}}[/.-]\d{{1,2}}", rf"\d{{1,2}}/{YEAR}",
            rf"{MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:,? {YEAR})?",
            rf"\d{{1,2}}(?:st|nd|rd|th)?[ -](?:of )?{MONTH}[ ,-]*(?:{YEAR})?", rf"{MONTH}(?: of)?,? {YEAR}",
            rf"(?:in|since|from|on|dated|of|year|until|before|after) {YEAR}", "yesterday",
            r"on (?:mon|tues|wednes|thurs|fri|satur|sun)day",
            r"last (?:night|week|month|year|monday|tuesday|wednesday|thursday|friday|saturday|sunday)",
            rf"{COUNT} (?:\w+ )?(?:minute|hour|day|week|month|year)s? (?:ago|earlier|prior|before|previously)",
            r"(?:at )\d{1,2}:\d\d", r"\d{1,2}:\d\d ?(?:am|pm|hours?|hrs?|h)", r"\d{1,2} ?(?:am|pm)",
        ],
    ),
    word_rule(
        "measurement",
        [
            r"\d+(?:[.,]\d+)? ?-?(?:mm|cm|millimet(?:er|re)s?|centimet(?:er|re)s?|ml|cc|cm3|milliliters?"
            r"|millilitres?|hu"
            r"|hounsfield|inch(?:es)?|liters?|litres?)",
            r"\d+(?:[.,]\d+)?(?:mm|cm|ml|hu)",
            rf"(?:{COUNT}|half an?|[a-z]+ty)[- ](?:millimet(?:er|re)|centimet(?:er|re)|inch)(?:s|es)?",
            r"suv(?:max|mean|peak)?(?: value)?(?: max)?(?: (?:of|is|was|up to))?[ :=]*\d",
            r"sub-?centimet(?:er|re)s?", r"sub-?centimetric", r"millimetric", r"hounsfield units?",
        ],
    ),
    word_rule(
        "reader",
        [
            r"drs?\.? [a-z]+", r"doctor [a-z]+", r"[a-z]+,? m\.?d", r"(?:over)?read by",
            r"(?:re)?(?:viewed|interpreted|dictated|signed|transcribed|verified|approved|reported|graded|annotated"
            r"|labell?ed)"
            r" by",
            r"(?:report|diagnosis|interpretation|reading|grading|annotation) by",
            r"(?:discussed|communicated|relayed|conveyed|telephoned|phoned) (?:\w+ )?(?:with|to)",
            r"(?:was|were|been) (?:notified|informed|alerted|called)", r"(?:neuro)?radiologists?", r"physicians?",
            r"clinicians?", r"(?:on-call|attending|resident) \w+", r"residents?", r"dermatologists?",
            r"pathologists?", r"surgeons?", r"experts?",
            r"(?:first|second|both|two|three|the|all) (?:readers?|observers?|annotators?|raters?)", r"radiographers?",
            r"technologists?", r"electronically signed",
        ],
        [r"\w+ by (?:ct|mri|us|ultrasound)"],
    ),
)  # fmt: skip
