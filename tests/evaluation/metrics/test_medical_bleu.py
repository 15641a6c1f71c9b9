"""Compares medical BLEU with sacrebleu, and checks languages, errors and the Space."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

from evaluation.metrics.medical_bleu import tokens
from evaluation.metrics.medical_bleu.bilingual import bleu_scores
from evaluation.metrics.medical_bleu.rouge import common_length, rouge_l
from evaluation.metrics.medical_bleu.tokens import FOLDINGS, detect_language, fold, words_of

ENGLISH = {
    "predictions": [
        "There is a small nodule in the left upper lobe.",
        "No pleural effusion or pneumothorax is seen.",
        "The heart size is normal.",
    ],
    "references": [
        "There is a small nodule in the right upper lobe.",
        "There is no pleural effusion and no pneumothorax is seen.",
        "Heart size is within normal limits.",
    ],
}
CHINESE = {
    "predictions": ["左肺上叶可见小结节。", "未见胸腔积液。", "MRI T2 加权像示高信号。"],
    "references": ["右肺上叶可见一小结节。", "未见明显胸腔积液。", "MRI T2 加权像呈高信号影。"],
}
MIXED = {
    "predictions": [text for pair in zip(ENGLISH["predictions"], CHINESE["predictions"], strict=True) for text in pair],
    "references": [text for pair in zip(ENGLISH["references"], CHINESE["references"], strict=True) for text in pair],
}


def plain_rouge_l(prediction: str, reference: str) -> float:
    """The F1 of the longest common subsequence by its table, with the tokens of `rouge_score`, Chinese by character."""
    ours, theirs = (re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]", text.lower()) for text in (prediction, reference))
    length = plain_common_length(ours, theirs)
    precision, recall = length / len(ours), length / len(theirs)
    return 100 * 2 * precision * recall / (precision + recall) if length else 0.0


def plain_common_length(ours, theirs) -> int:
    table = [[0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for row, word in enumerate(ours, 1):
        for column, other in enumerate(theirs, 1):
            best = max(table[row - 1][column], table[row][column - 1])
            table[row][column] = table[row - 1][column - 1] + 1 if word == other else best
    return table[-1][-1]


def compute_sacrebleu(predictions, references, tokenize, order=4):
    """Calls sacrebleu directly, with one reference per prediction."""
    return BLEU(tokenize=tokenize, max_ngram_order=order).corpus_score(predictions, [references])


@pytest.mark.parametrize(("language", "corpus", "tokenize"), [("en", ENGLISH, "13a"), ("zh", CHINESE, "zh")])
def test_scores_of_one_language_equal_sacrebleu(language, corpus, tokenize):
    scores = bleu_scores(**corpus)
    bleu, bleu_1, bleu_2, bleu_3 = (
        compute_sacrebleu(**corpus, tokenize=tokenize, order=order) for order in (4, 1, 2, 3)
    )
    assert 10 < bleu.score < bleu_3.score < bleu_2.score < bleu_1.score < 90
    assert scores.pop("signature").keys() == {language, "all", "chrf", "rouge_l"}
    chrf = CHRF().corpus_score(corpus["predictions"], [corpus["references"]]).score
    found = [plain_rouge_l(*pair) for pair in zip(corpus["predictions"], corpus["references"], strict=True)]
    expected = {"bleu": bleu.score, "bleu_1": bleu_1.score, "bleu_2": bleu_2.score, "bleu_3": bleu_3.score}
    expected |= {"chrf": chrf, "rouge_l": sum(found) / len(found)}
    assert scores == pytest.approx(
        expected
        | {f"{name}_{language}": value for name, value in expected.items()}
        | {
            "brevity_penalty": bleu.bp,
            "length_ratio": bleu.ratio,
            "num_samples": 3,
            f"num_samples_{language}": 3,
        }
    )


def test_two_languages_have_separate_scores_and_a_common_one():
    scores = bleu_scores(**MIXED)
    for order, name in ((4, "bleu"), (1, "bleu_1")):
        parts = {
            "en": compute_sacrebleu(**ENGLISH, tokenize="13a", order=order),
            "zh": compute_sacrebleu(**CHINESE, tokenize="zh", order=order),
        }
        for language, part in parts.items():
            assert scores[f"{name}_{language}"] == pytest.approx(part.score)
        whole = BLEU.compute_bleu(
            correct=[sum(n) for n in zip(*(part.counts for part in parts.values()), strict=True)],
            total=[sum(n) for n in zip(*(part.totals for part in parts.values()), strict=True)],
            sys_len=sum(part.sys_len for part in parts.values()),
            ref_len=sum(part.ref_len for part in parts.values()),
            smooth_method="exp",
            max_ngram_order=order,
        )
        assert scores[name] == pytest.approx(whole.score)
        assert (scores["brevity_penalty"], scores["length_ratio"]) == pytest.approx((whole.bp, whole.ratio))
    assert (scores["num_samples"], scores["num_samples_en"], scores["num_samples_zh"]) == (6, 3, 3)


def test_equal_chinese_texts_score_100_but_0_with_13a():
    texts = CHINESE["references"][:2]
    assert sacrebleu.corpus_bleu(texts, [texts], tokenize="13a").score == 0
    scores = bleu_scores(texts, texts)
    assert (scores["bleu"], scores["bleu_1"], scores["bleu_zh"], scores["bleu_1_zh"]) == (100, 100, 100, 100)
    assert bleu_scores(texts, texts, languages=["en", "en"])["bleu"] == 0


def test_a_signature_reproduces_its_score():
    scores = bleu_scores(**MIXED)
    for language, corpus in (("en", ENGLISH), ("zh", CHINESE)):
        signature = dict(part.split(":", 1) for part in scores["signature"][language].split("|"))
        assert signature["version"] == sacrebleu.__version__
        assert (signature["nrefs"], signature["case"], signature["eff"]) == ("1", "mixed", "no")
        again = BLEU(tokenize=signature["tok"], smooth_method=signature["smooth"])
        assert scores[f"bleu_{language}"] == pytest.approx(
            again.corpus_score(corpus["predictions"], [corpus["references"]]).score
        )
    assert "tok:none" in scores["signature"]["all"]


def test_correct_one_word_answers_score_only_in_bleu_1():
    scores = bleu_scores(["yes", "liver"], ["yes", "liver"])
    assert (scores["bleu"], scores["bleu_1"]) == (0, 100)


def test_samples_can_differ_in_their_number_of_references():
    several = [[text] for text in MIXED["references"]]
    several[0].append("A small nodule in the left upper lobe.")
    several[3] += ["未见胸腔积液。", "无胸腔积液。"]
    scores = bleu_scores(MIXED["predictions"], several)
    assert scores["bleu"] > bleu_scores(**MIXED)["bleu"] + 1
    assert "nrefs:var" in scores["signature"]["all"]
    # Repeating a reference changes nothing, so three references per text must give the same score.
    padded = [texts + texts[-1:] * (3 - len(texts)) for texts in several]
    for language, rows, tokenize in (("en", (0, 2, 4), "13a"), ("zh", (1, 3, 5), "zh")):
        streams = [[padded[row][i] for row in rows] for i in range(3)]
        score = BLEU(tokenize=tokenize).corpus_score([MIXED["predictions"][row] for row in rows], streams)
        assert scores[f"bleu_{language}"] == pytest.approx(score.score)


def test_empty_predictions_count_as_texts_without_words():
    scores = bleu_scores(["", *ENGLISH["predictions"][1:]], ENGLISH["references"])
    assert 0 < scores["bleu"] < bleu_scores(**ENGLISH)["bleu"]
    assert scores["length_ratio"] < 0.7
    blank = bleu_scores(["", "  \n"], ["effusion", "积液"])
    assert (blank["bleu"], blank["bleu_1_en"], blank["bleu_zh"], blank["length_ratio"]) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("No pleural effusion.", "en"),
        ("未见胸腔积液。", "zh"),
        ("MRI T2 加权", "zh"),
        ("CT", "en"),
        ("nodule (12 mm), see “report”", "en"),
        ("The report says 积液, that is, effusion on the left side.", "en"),
        ("腺癌 adenocarcinoma", "zh"),
        ("\U00020000\U00020001", "zh"),
        ("12。3", "en"),
        ("", "en"),
        ("흉수가 보이지 않습니다.", "ko"),
        ("CT: 폐결절", "ko"),
        ("両肺野に異常陰影を認めません", "ja"),
        ("ไม่พบน้ำในช่องเยื่อหุ้มปอด", "th"),
        ("Befund: kein Erguss, Größe 3 cm", "en"),
    ],
)
def test_detect_language(text, language):
    assert detect_language(text) == language


def test_given_languages_take_precedence_over_detection():
    texts = ["CT 平扫", "yes"]
    scores = bleu_scores(texts, texts, languages=["en", "zh"])
    assert (scores["num_samples_en"], scores["num_samples_zh"]) == (1, 1)
    detected = bleu_scores(texts, texts)
    assert detected["signature"]["en"] == scores["signature"]["en"]
    assert detected["bleu_1_zh"] == scores["bleu_1_zh"] == 100
    assert (
        bleu_scores(["CT"], [["CT", "电子计算机断层扫描"]])["num_samples_zh"] == 1
    )  # detection uses all references of a sample


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictions": [], "references": []}, "There are no samples"),
        ({"references": ["a"]}, "2 predictions, but references for 1"),
        ({"predictions": ["a", None]}, "sample 1: the prediction is None"),
        ({"references": [["a"], []]}, "sample 1: the list of references is empty"),
        ({"references": [["a", " "], ["b"]]}, "sample 0: a reference is ' '"),
        ({"references": [["a"], [None]]}, "sample 1: a reference is None"),
        ({"languages": ["en"]}, "1 languages for 2 samples"),
        ({"languages": ["en", "French"]}, "sample 1: the language 'French' is unknown"),
    ],
)
def test_bleu_scores_refuses_invalid_samples(arguments, message):
    valid = {"predictions": ["a", "b"], "references": ["a", "b"], "languages": ["en", "en"]}
    bleu_scores(**valid)
    with pytest.raises(ValueError, match=message):
        bleu_scores(**{**valid, **arguments})


# ---- the metric ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def metric():
    from evaluation.metrics.medical_bleu.medical_bleu import MedicalBleu

    return MedicalBleu(keep_in_memory=True)


@pytest.mark.parametrize("shape", ["texts", "lists", "mixture"])
def test_compute_accepts_texts_and_lists(metric, shape):
    references = [
        [text] if shape == "lists" or (shape == "mixture" and row % 2) else text
        for row, text in enumerate(MIXED["references"])
    ]
    assert metric.compute(predictions=MIXED["predictions"], references=references) == bleu_scores(**MIXED)


def test_compute_accepts_languages_and_batches(metric):
    languages = ["zh"] * 3 + ["en"]
    metric.add_batch(predictions=CHINESE["predictions"], references=CHINESE["references"])
    metric.add(prediction="右肺", reference=["右肺"])
    expected = bleu_scores([*CHINESE["predictions"], "右肺"], [*CHINESE["references"], "右肺"], languages)
    assert metric.compute(languages=languages) == expected
    assert expected["bleu_1_en"] == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictions": [], "references": []}, "There are no samples"),
        ({"predictions": ["a", None]}, "sample 1: the prediction is None"),
        ({"references": ["a", []]}, "sample 1: the list of references is empty"),
        ({"references": ["a", ""]}, "sample 1: a reference is ''"),
        ({"references": ["a"]}, "Mismatch in the number of predictions"),
        ({"predictions": [1, 2]}, "don't match the expected format"),
        ({"languages": ["DE", "en"]}, "sample 0: the language 'DE'"),
    ],
)
def test_compute_refuses_invalid_samples_and_stays_usable(metric, arguments, message):
    valid = {"predictions": ["a", "b"], "references": ["a", "c"]}
    with pytest.raises(ValueError, match=message):
        metric.compute(**{**valid, **arguments})
    scores = metric.compute(**valid)
    # No samples of the refused call remain.
    assert (scores["num_samples"], scores["bleu_1"]) == pytest.approx((2, 50))


@pytest.mark.slow
def test_the_folder_is_a_complete_space(check_space):
    scores = check_space("medical_bleu")
    assert scores["num_samples_en"] == scores["num_samples_zh"] == 1
    assert 0 < scores["bleu"] < scores["bleu_1"] < 100


def test_other_languages_are_scored_by_themselves():
    """German has spaces between its words; Japanese is compared by characters, and `und` counts as neither."""
    texts = ["Kein Nachweis eines Ergusses rechts.", "両肺野に異常陰影を認めません", "No focal consolidation is seen."]
    scores = bleu_scores(texts, texts, ["de", "ja", "und"])
    names = [f"{name}{end}" for name in ("bleu", "bleu_1", "bleu_2", "bleu_3") for end in ("", "_ja", "_de", "_und")]
    assert {name: scores[name] for name in scores if name.startswith("bleu")} == pytest.approx(
        dict.fromkeys(names, 100)
    )
    assert (scores["num_samples_de"], scores["num_samples_ja"]) == (1, 1)
    assert "tok:char" in scores["signature"]["ja"] and "tok:13a" in scores["signature"]["de"]
    wrong = bleu_scores(["Kein Erguss links.", *texts[1:]], texts, ["de", "ja", "und"])
    assert wrong["bleu_ja"] == pytest.approx(100) and wrong["bleu_1_de"] < 60


# ---- ROUGE-L and chrF ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_longest_common_subsequence_equals_its_table(seed):
    draw = random.Random(seed)
    for _ in range(60):
        ours, theirs = ([draw.choice("abcde") for _ in range(draw.randint(0, 90))] for _ in range(2))
        assert common_length(ours, theirs) == plain_common_length(ours, theirs)


@pytest.mark.parametrize(
    ("prediction", "references", "score"),
    [
        ("No effusion seen", ["no effusion"], 200 * 2 / 5),
        ("未见积液", ["可见积液"], 200 * 3 / 8),
        ("a b c d", ["b d a c"], 50),
        ("Heart size: normal.", ["heart_size normal", "x"], 100),
        ("yes", ["no", "yes it is"], 50),  # the better reference counts
        ("", ["effusion"], 0),
        ("+", ["+"], 100),
        ("左肺 3cm", ["左肺3cm"], 100),
    ],
)
def test_rouge_l_by_hand(prediction, references, score):
    assert rouge_l(prediction, references) == pytest.approx(score)


def test_words_of_mixed_texts():
    assert words_of("MRI T2 加权像, Größe 3.5cm") == ["mri", "t2", "加", "权", "像", "größe", "3", "5cm"]


def test_long_texts_take_milliseconds():
    text = "there is a small nodule in the left upper lobe of the lung " * 500
    assert rouge_l(text, [text[5:]]) > 99


def test_several_references_of_chrf_equal_sacrebleu():
    predictions, references = ["left lung nodule", "no effusion"], [["a left nodule", "lung nodule"], ["no effusions"]]
    streams = [["a left nodule", "no effusions"], ["lung nodule", None]]
    assert bleu_scores(predictions, references)["chrf"] == pytest.approx(
        CHRF().corpus_score(predictions, streams).score
    )


# ---- Korean, and folding ---------------------------------------------------------------------------------------------


def test_equal_korean_texts_score_100_and_negation_does_not():
    texts = ["흉수가 보이지 않습니다.", "기흉 없음"]
    scores = bleu_scores(texts, texts)
    assert scores["bleu_ko"] == scores["rouge_l_ko"] == scores["chrf_ko"] == pytest.approx(100)
    assert "tok:char" in scores["signature"]["ko"] and scores["num_samples_ko"] == 2
    assert 0 < bleu_scores(["흉수가 보입니다."], texts[:1])["bleu_ko"] < 60


REPORT = "双肺纹理增多，右肺上叶可见结节，大小约12mm。未见胸腔积液（3次复查）。"
WRITTEN_OTHERWISE = {
    "full-width digits": ("width", "双肺纹理增多，右肺上叶可见结节，大小约１２ｍｍ。未见胸腔积液（３次复查）。"),
    "half-width punctuation": ("width", "双肺纹理增多,右肺上叶可见结节,大小约12mm.未见胸腔积液(3次复查)."),
    "traditional": ("width+script", "雙肺紋理增多，右肺上葉可見結節，大小約12mm。未見胸腔積液（3次複查）。"),
}


@pytest.mark.parametrize("name", WRITTEN_OTHERWISE)
def test_folding_makes_ways_of_writing_equal(name):
    folding, text = WRITTEN_OTHERWISE[name]
    plain, folded = bleu_scores([text], [REPORT]), bleu_scores([text], [REPORT], folding=folding)
    assert plain["bleu"] < 80
    assert [folded[key] for key in ("bleu", "chrf", "rouge_l")] == pytest.approx([100] * 3)
    assert all(value.endswith(f"|fold:{folding}") for value in folded["signature"].values())
    assert not any("fold" in value for value in plain["signature"].values())
    wrong = text.replace("未见", "可见").replace("未見", "可見")
    assert bleu_scores([wrong], [REPORT], folding=folding)["bleu"] < 100


def test_width_alone_keeps_scripts_apart_and_unknown_foldings_are_refused():
    assert fold("結節１２。", "width") == "結節12." and fold("結節１２。", "width+script") == "结节12."
    assert fold("結節１２。", "none") == "結節１２。" and FOLDINGS[0] == "none"
    with pytest.raises(ValueError, match=r"folding is 'nfkc'\. Use one of none, width, width"):
        bleu_scores(["a"], ["a"], folding="nfkc")


def test_compute_takes_a_folding(metric):
    assert metric.compute(predictions=["結節"], references=["结节"], folding="width+script")["bleu_1"] == 100


def test_the_table_of_characters_is_that_of_the_other_metrics():
    """Each metric is complete by itself, so each has the table."""
    folder = Path(tokens.__file__).parents[1]
    one, other = (folder / name / "chinese_characters.py" for name in ("medical_bleu", "vqa_accuracy"))
    assert one.read_bytes() == other.read_bytes()
