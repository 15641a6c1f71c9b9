"""Measures memory and time of the decoder's head and loss, forward and backward, compared with the stock model.

    OMP_NUM_THREADS=2 python tests/benchmarks/decoder/head_and_loss.py

measures from the last hidden states to their gradients, and to those of the head if it is trainable, each path in its
own process: the path of transformers (all logits, then the loss), the same at labeled positions only, and
`modeling/mllama/chunked_cross_entropy.py`. It checks that all give the same loss and gradients, prints a table and
writes `tests/benchmarks/results/decoder_head.json`. The vocabulary is that of Llama 3.2. Short answers are rows of 64
tokens with 1 to 6 labels, as in SLAKE; reports are rows of 512 tokens with a label at each. Memory is the peak above
the inputs and the head: that of the GPU if there is one, otherwise that of the process, which requires Linux's /proc.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import torch
from safetensors.torch import save_file

from model_cards.results import write_json
from modeling.mllama.chunked_cross_entropy import compute_token_losses, find_supervised_positions, reduce_losses
from tests.benchmarks.encoder.contrastive_loss import difference, fastest, machine, peak, start_of_peak, step, versions

RESULT = Path(__file__).parents[1] / "results" / "decoder_head.json"
STOCK, SELECTED, OURS = "transformers", "transformers, labels only", "ours"
NAMES = (STOCK, SELECTED, OURS)
WORDS = 128_256  # vocabulary size of Llama 3.2's head
BATCHES = {"short answers": (16, 64, 6), "report": (1, 512, 511)}  # rows, tokens, maximum number of labels per row
# Tolerance relative to the norm of a gradient, for another order of sums, and in bfloat16 for sums over chunks.
SAME = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
MIB = 2**20


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    width, dtype = (4096, "bfloat16") if device == "cuda" else (512, "float32")
    parser.add_argument("--width", type=int, default=width, help="hidden size; Llama's is 4096 (default: %(default)s)")
    parser.add_argument("--words", type=int, default=WORDS, help="vocabulary size (default: %(default)s)")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16"], default=dtype, help="type of the head (default: %(default)s)"
    )
    parser.add_argument(
        "--repeats", type=int, default=2, help="runs of each path, of which the fastest counts (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    cases = [(batch, learns) for batch in BATCHES for learns in (False, True)]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(None),
        "words": options.words,
        "width": options.width,
        "dtype": options.dtype,
        "heads": [row for case in cases for row in compare(*case, options)],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result)
    return 0


def compare(batch: str, learns: bool, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures each path; returns one row per path. Raises RuntimeError if one differs from the stock path."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{number}.safetensors" for number, name in enumerate(NAMES)}
        case = (batch, learns, options.words, options.width, options.dtype)
        # The paths take turns, so that other work of the machine affects all of them.
        turns = [[in_new_process(name, *case, files[name]) for name in NAMES] for _ in range(options.repeats)]
        for runs in zip(*turns, strict=True):
            rows.append(fastest(runs))
            rows[-1]["difference"] = difference(files[rows[-1]["path"]], files[STOCK])
    ours = next(row for row in rows if row["path"] == OURS)
    print(f"\n{batch}, {ours['labels']} labels, head {'trainable' if learns else 'frozen'}")
    print(f"{'':30}{'MiB':>8}{'to ours':>9}{'seconds':>9}{'to ours':>9}{'CPU s':>11}  difference")
    for row in rows:
        row["memory_to_ours"] = round(row["peak_mib"] / max(ours["peak_mib"], 1), 2)
        row["seconds_to_ours"] = round(row["seconds"] / ours["seconds"], 2)
        print(f"  {row['path']:28}{row['peak_mib']:8,}{row['memory_to_ours']:9.2f}", end="")
        print(f"{row['seconds']:9.3f}{row['seconds_to_ours']:9.2f}{row['processor_seconds']:11.3f}", end="")
        print(f"  {row['difference']}", flush=True)
        if row["difference"] > SAME[getattr(torch, options.dtype)]:
            raise RuntimeError(f"{row['path']}: loss or gradients differ by {row['difference']} of their norm")
    return rows


def in_new_process(name: str, *case: Any) -> dict[str, Any]:
    """Measures in a new process, so that the memory peak is that of this measurement only."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (name, *case))


def measure(name: str, batch: str, learns: bool, words: int, width: int, dtype: str, file: Path) -> dict[str, Any]:
    """Measures peak memory and time of the loss and its gradients, and writes these to `file`."""
    head, hidden, labels = inputs(batch, learns, words, width, getattr(torch, dtype))
    path = {STOCK: stock_loss, SELECTED: selected_loss, OURS: supervised_loss}[name]
    short = labels[:1, -16:]
    step(lambda one: path(head, one, short), (hidden[:1, -16:].detach().requires_grad_(),))  # warm-up
    head.weight.grad = None
    before = start_of_peak()
    started, worked = time.perf_counter(), time.process_time()
    value = step(lambda one: path(head, one, labels), (hidden,))
    seconds, used = time.perf_counter() - started, time.process_time() - worked
    highest = peak() - before
    found = {"loss": value, "hidden": hidden.grad} | ({"head": head.weight.grad} if learns else {})
    save_file({one: tensor.float().cpu().contiguous() for one, tensor in found.items()}, file)
    return {
        "batch": batch,
        "head_learns": learns,
        "path": name,
        "positions": labels.numel(),
        "labels": int((labels[:, 1:] != -100).sum()),
        "seconds": round(seconds, 4),
        "processor_seconds": round(used, 4),
        "peak_mib": round(highest / MIB),
        # part of the peak: the gradient of the head, which every path computes
        "gradient_mib": round(head.weight.nbytes / MIB) if learns else 0,
        "loss": value.item(),
    }


def inputs(batch: str, learns: bool, words: int, width: int, dtype: torch.dtype) -> tuple[Any, ...]:
    """Returns the head, hidden states `[B, L, D]` and labels `[B, L]`."""
    rows, length, most = BATCHES[batch]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    head = torch.nn.Linear(width, words, bias=False, dtype=dtype).requires_grad_(learns)
    hidden = torch.randn(rows, length, width, dtype=dtype)
    labels = torch.randint(0, words, (rows, length))
    for row, kept in enumerate(torch.arange(rows) % most + 1 if most < length - 1 else [most]):
        labels[row, : length - int(kept)] = -100
    return head.to(device), hidden.to(device).requires_grad_(), labels.to(device)


# --- the paths ---


def stock_loss(head: torch.nn.Module, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Computes the loss like `MllamaForConditionalGeneration.forward` after its last layer."""
    from transformers.loss.loss_utils import ForCausalLMLoss

    return ForCausalLMLoss(head(hidden), labels, head.out_features)


def selected_loss(head: torch.nn.Module, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Computes the same at positions whose next token has a label, with all their logits at once."""
    from transformers.loss.loss_utils import ForCausalLMLoss

    positions, targets = find_supervised_positions(labels, head.out_features)
    logits = head(hidden.flatten(0, 1)[positions])
    return ForCausalLMLoss(logits, None, head.out_features, shift_labels=targets)


def supervised_loss(head: torch.nn.Module, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return reduce_losses(compute_token_losses(head, hidden, *find_supervised_positions(labels, head.out_features)))


if __name__ == "__main__":
    sys.exit(main())
