"""Shows a form that scores embeddings. To run it locally: `pip install gradio`, then `python app.py`.

It does not use `evaluate.utils.launch_gradio_widget`, which requires Gradio 3 and fails with current libraries.
"""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import gradio as gr

HERE = Path(__file__).parent
metric = evaluate.load(str(HERE / "embedding_alignment.py"))


def score(predictions: str, references: str, logits: str) -> dict:
    """Computes the scores; all fields are JSON, and `logits` can be empty."""
    try:
        scale, bias = json.loads(logits) if logits.strip() else (None, None)
        return metric.compute(
            predictions=json.loads(predictions), references=json.loads(references), logit_scale=scale, logit_bias=bias
        )
    except (TypeError, ValueError) as error:  # json.JSONDecodeError is a ValueError
        raise gr.Error(str(error)) from error


demo = gr.Interface(
    fn=score,
    inputs=[
        gr.Textbox(label="predictions: the embedding of each pair's image"),
        gr.Textbox(label="references: the embedding of each pair's text"),
        gr.Textbox(label="logit_scale and logit_bias (optional), for example [4.7, -16.5]", value=""),
    ],
    outputs=gr.JSON(label="scores"),
    examples=[["[[1, 0], [0, 1]]", "[[1, 0.2], [0.1, 1]]", "[2.3, -5]"]],
    title="Embedding alignment",
    article=(HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2],  # without the front matter
)

if __name__ == "__main__":
    demo.launch()
