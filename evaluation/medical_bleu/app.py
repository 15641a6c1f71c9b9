"""The page of this Space: paste texts, read their BLEU. Locally: `pip install gradio`, then `python app.py`.

`evaluate.utils.launch_gradio_widget` is not used: it needs Gradio 3, which does not start beside current libraries.
"""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).parent
metric = evaluate.load(str(HERE / "medical_bleu.py"))


def score(predictions: str, references: str, languages: str) -> dict:
    """All fields are JSON lists; the languages may be left empty."""
    try:
        return metric.compute(
            predictions=json.loads(predictions),
            references=json.loads(references),
            languages=json.loads(languages) if languages.strip() else None,
        )
    except (TypeError, ValueError) as error:  # json.JSONDecodeError is a ValueError
        raise gr.Error(str(error)) from error


demo = gr.Interface(
    fn=score,
    inputs=[
        gr.Textbox(label="predictions: a list of texts"),
        gr.Textbox(label="references: a text, or a list of texts, for each"),
        gr.Textbox(label='languages (optional): "en" or "zh" for each'),
    ],
    outputs=gr.JSON(label="scores"),
    examples=[
        [
            '["No pleural effusion is seen.", "左肺可见一结节。"]',
            '["There is no pleural effusion.", ["左肺可见小结节。", "左肺结节。"]]',
            "",
        ]
    ],
    title="Medical BLEU",
    article=(HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2],  # without the front matter
)

if __name__ == "__main__":
    demo.launch()
