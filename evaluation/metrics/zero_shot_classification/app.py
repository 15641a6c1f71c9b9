"""Shows a form that scores a classifier. To run it locally: `pip install gradio`, then `python app.py`.

It does not use `evaluate.utils.launch_gradio_widget`, which requires Gradio 3 and fails with current libraries.
"""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).parent
metric = evaluate.load(str(HERE / "zero_shot_classification.py"))


def score(predictions: str, references: str, class_names: str) -> dict:
    """Computes the scores; all fields are JSON, and `class_names` can be empty."""
    try:
        return metric.compute(
            predictions=json.loads(predictions),
            references=json.loads(references),
            class_names=json.loads(class_names) if class_names.strip() else None,
        )
    except (TypeError, ValueError) as error:  # json.JSONDecodeError is a ValueError
        raise gr.Error(str(error)) from error


demo = gr.Interface(
    fn=score,
    inputs=[
        gr.Textbox(label="predictions: for each row one score per class"),
        gr.Textbox(label="references: the class of each row"),
        gr.Textbox(label="class_names (optional)", value=""),
    ],
    outputs=gr.JSON(label="scores"),
    examples=[["[[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]", "[0, 1, 1]", '["nevus", "melanoma"]']],
    title="Zero-shot classification",
    article=(HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2],  # without the front matter
)

if __name__ == "__main__":
    demo.launch()
