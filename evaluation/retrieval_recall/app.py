"""The page of this Space: paste ranked lists, read the recall. Locally: `pip install gradio`, then `python app.py`.

`evaluate.utils.launch_gradio_widget` is not used: it needs Gradio 3, which does not start beside current libraries,
and has no field for `ks`.
"""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).parent
metric = evaluate.load(str(HERE / "retrieval_recall.py"))


def score(predictions: str, references: str, ks: str, num_candidates: float | None) -> dict:
    """All fields are JSON except the size of the gallery, which may be left empty."""
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
        gr.Textbox(label="predictions: retrieved ids of each query, best first"),
        gr.Textbox(label="references: relevant ids of each query"),
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
