"""Shows a form that computes the accuracy of answers. To run it locally: `pip install gradio`, then `python app.py`.

It does not use `evaluate.utils.launch_gradio_widget`, which requires Gradio 3, fails with current libraries, and has
no field for the rule.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).parent
metric = evaluate.load(str(HERE / "vqa_accuracy.py"))
RULES = sys.modules[type(metric).__module__].RULES


def score(predictions: str, references: str, answer_types: str, languages: str, rule: str) -> dict:
    """Computes the scores; all fields but `rule` are JSON lists, and `answer_types` and `languages` can be empty."""
    try:
        return metric.compute(
            predictions=json.loads(predictions),
            references=json.loads(references),
            answer_types=json.loads(answer_types) if answer_types.strip() else None,
            languages=json.loads(languages) if languages.strip() else None,
            rule=rule.strip() or "exact",
        )
    except (TypeError, ValueError) as error:  # json.JSONDecodeError is a ValueError
        raise gr.Error(str(error)) from error


demo = gr.Interface(
    fn=score,
    inputs=[
        gr.Textbox(label="predictions: a list of answers"),
        gr.Textbox(label="references: the correct answer per prediction"),
        gr.Textbox(label='answer types (optional): "OPEN" or "CLOSED" per prediction'),
        gr.Textbox(label='languages (optional): "en" or "zh" per prediction'),
        gr.Textbox(label=f"rule: {', '.join(RULES)}", value="exact"),
    ],
    outputs=gr.JSON(label="scores"),
    examples=[
        [
            '["Left lung.", "Yes", "不包含"]',
            '["left lung", "no", "不包含"]',
            '["OPEN", "CLOSED", "CLOSED"]',
            "",
            "exact",
        ]
    ],
    title="VQA accuracy",
    article=(HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2],  # without the front matter
)

if __name__ == "__main__":
    demo.launch()
