"""Shows a form that computes BLEU, chrF and ROUGE-L of texts. To run it: `pip install gradio`, then `python app.py`.

It does not use `evaluate.utils.launch_gradio_widget`, which requires Gradio 3 and fails with current libraries.
"""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).parent
metric = evaluate.load(str(HERE / "medical_bleu.py"))


def score(predictions: str, references: str, languages: str, folding: str) -> dict:
    """Computes the scores; the texts and languages are JSON lists, and `languages` can be empty."""
    try:
        return metric.compute(
            predictions=json.loads(predictions),
            references=json.loads(references),
            languages=json.loads(languages) if languages.strip() else None,
            folding=folding,
        )
    except (TypeError, ValueError) as error:  # json.JSONDecodeError is a ValueError
        raise gr.Error(str(error)) from error


demo = gr.Interface(
    fn=score,
    inputs=[
        gr.Textbox(label="predictions: a list of texts"),
        gr.Textbox(label="references: one text, or a list of texts, per prediction"),
        gr.Textbox(label='languages (optional): "en" or "zh" per prediction'),
        gr.Textbox(label="folding: none, width, or width+script", value="none"),
    ],
    outputs=gr.JSON(label="scores"),
    examples=[
        [
            '["No pleural effusion is seen.", "左肺可见一结节。"]',
            '["There is no pleural effusion.", ["左肺可见小结节。", "左肺结节。"]]',
            "",
            "none",
        ]
    ],
    title="Medical BLEU",
    article=(HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2],  # without the front matter
)

if __name__ == "__main__":
    demo.launch()
