"""Shows a form that computes recall from ranked lists. To run it locally: `pip install gradio`, then `python app.py`.

It does not use `evaluate.utils.launch_gradio_widget`, which requires Gradio 3, fails with current libraries, and has
no field for `ks`.
"""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).parent
metric = evaluate.load(str(HERE / "retrieval_recall.py"))


def score(predictions: str, references: str, ks: str, num_candidates: float | None) -> dict:
    """Computes the scores; all fields but `num_candidates` are JSON, and `num_candidates` can be empty."""
    try:
        return metric.compute(
            predictions=json.loads(predictions),
            references=json.loads(references),
            ks=json.loads(ks),
            num_candidates=int(num_candidates) if num_candidates else None,
        )
    except (TypeError, ValueError) as error:  # json.JSONDecodeError is a ValueError
        raise gr.Error(str(error)) from error


demo = gr.Interface(
    fn=score,
    inputs=[
        gr.Textbox(label="predictions: retrieved ids per query, best first"),
        gr.Textbox(label="references: relevant ids per query"),
        gr.Textbox(label="ks", value="[1, 5, 10]"),
        gr.Number(label="num_candidates (optional)", value=None, precision=0),
    ],
    outputs=gr.JSON(label="scores"),
    examples=[["[[4, 7, 1], [2, 9, 5]]", "[[7, 8], [2]]", "[1, 3]", 10]],
    title="Retrieval recall",
    article=(HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2],  # without the front matter
)

if __name__ == "__main__":
    demo.launch()
