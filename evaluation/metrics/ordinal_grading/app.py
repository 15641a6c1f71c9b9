"""Shows a form that scores grades. To run it locally: `pip install gradio`, then `python app.py`.

It does not use `evaluate.utils.launch_gradio_widget`, which requires Gradio 3 and fails with current libraries.
"""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).parent
metric = evaluate.load(str(HERE / "ordinal_grading.py"))


def score(predictions: str, references: str, num_grades: float | None) -> dict:
    """Computes the scores; all fields but `num_grades` are JSON, and `num_grades` can be empty."""
    try:
        return metric.compute(
            predictions=json.loads(predictions),
            references=json.loads(references),
            num_grades=int(num_grades) if num_grades else None,
        )
    except (TypeError, ValueError) as error:  # json.JSONDecodeError is a ValueError
        raise gr.Error(str(error)) from error


demo = gr.Interface(
    fn=score,
    inputs=[
        gr.Textbox(label="predictions: the predicted grade of each row"),
        gr.Textbox(label="references: the correct grade of each row"),
        gr.Number(label="num_grades (optional)", value=None, precision=0),
    ],
    outputs=gr.JSON(label="scores"),
    examples=[["[0, 1, 2, 4]", "[0, 1, 3, 4]", 5]],
    title="Ordinal grading",
    article=(HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2],  # without the front matter
)

if __name__ == "__main__":
    demo.launch()
