"""Shows a form that compares the findings of texts. To run it locally: `pip install gradio`, then `python app.py`.

It does not use `evaluate.utils.launch_gradio_widget`, which requires Gradio 3 and fails with current libraries.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).parent
metric = evaluate.load(str(HERE / "clinical_consistency.py"))
describe_claims = sys.modules[type(metric).__module__].describe_claims


def score(predictions: str, references: str, languages: str) -> dict:
    """Computes the scores, and lists the claims of each text; all fields are JSON lists, `languages` can be empty."""
    try:
        texts = {"predictions": json.loads(predictions), "references": json.loads(references)}
        scores = metric.compute(**texts, languages=json.loads(languages) if languages.strip() else None)
        return scores | {f"claims of {name}": [describe_claims(text) for text in texts[name]] for name in texts}
    except (TypeError, ValueError) as error:  # json.JSONDecodeError is a ValueError
        raise gr.Error(str(error)) from error


demo = gr.Interface(
    fn=score,
    inputs=[
        gr.Textbox(label="predictions: a list of texts"),
        gr.Textbox(label="references: one text per prediction"),
        gr.Textbox(label='languages (optional): "en" or "zh" per prediction'),
    ],
    outputs=gr.JSON(label="scores"),
    examples=[
        [
            '["Small right pleural effusion.", "左肺可见1.5厘米结节。"]',
            '["Small left pleural effusion. No pneumothorax.", "左肺结节，直径15毫米。"]',
            "",
        ]
    ],
    title="Clinical consistency",
    article=(HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2],  # without the front matter
)

if __name__ == "__main__":
    demo.launch()
