"""The parts of the README and of docs/ that are made from result files, and the picture of a build.

    python -m tests.readme
    python -m tests.readme data/processed

The first writes the recorded numbers between their marks into every page; the second also makes the pages' picture from
the contact sheet of a build of the synthetic sample.
"""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

from tests.pages import DOCS, ROOT, pages

OPEN, PLAIN, STOCK = "open_clip", "plain accumulation", "stock image processor"
SPEED = "input of an image after the first epoch: images per second, relative to the stock processor (higher is better)"
COMPARED, RULE = "| measured | medpairs | baseline | baseline is |", "|---|--:|--:|---|"
LOWER, HIGHER = "(lower is better)", "(higher is better)"
ENCODER_RECORDS = ("contrastive_loss", "gradient_cache", "encoder_input", "encoder_end_to_end")
DECODER_RECORDS = ("decoder_end_to_end", "decoder_head", "decoder_input")
TRL_BEST = ("TRL", "TRL, 2 loader processes")
RESULTS = ROOT / "tests" / "benchmarks" / "results"
RECORD = RESULTS / "demo.json"
PICTURE = DOCS / "images" / "contact_sheet.jpg"
WIDTH = 960  # of the picture, in pixels


def with_record(text: str) -> str:
    """A page's text with the numbers of the records between its marks."""
    from evaluation.leaderboard import markdown

    record = json.loads(RECORD.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    machine = f"{record['date']}, {record['processors']} CPU cores, the demo took {record['seconds']} s, {versions}"
    whole = list(map(markdown, record["tables"]))
    filled = {"machine": machine, "tables": "\n" + "\n".join(whole)}
    headlines = [shortened(text) for text, table in zip(whole, record["tables"], strict=True) if is_headline(table)]
    filled["headlines"] = "\n" + "\n".join(headlines)
    marks = {f"demo:{mark}": content for mark, content in filled.items()}
    marks |= {"decoder_memory:table": f"\n{decoder_memory_table()}\n", "decoder_memory:shape": decoder_memory_shape()}
    marks |= {"encoder:machine": encoder_machine(), "encoder:table": f"\n{encoder_table()}\n"}
    marks |= {"decoder:machine": decoder_machine(), "decoder:table": f"\n{decoder_table()}\n"}
    marks |= {"decoder:share": decoder_share(), "summary:table": f"\n{summary_table()}\n"}
    marks |= {"privacy:table": f"\n{privacy_table()}\n", "families:table": f"\n{families_table()}\n"}
    for mark, content in marks.items():
        pattern = rf"(<!-- {mark} -->).*?(<!-- /{mark} -->)"
        text = re.sub(pattern, lambda match, content=content: match[1] + content + match[2], text, flags=re.DOTALL)
    return text


def is_headline(table: dict) -> bool:
    """Whether the README has the table; the page about evaluation has all of them."""
    return table.get("part") != "reports"


def shortened(text: str) -> str:
    """A table of the demo without what is said of the untrained model: its controls, and how it compares with them."""
    kept, is_untrained = [], False
    for line in text.splitlines():
        if re.match(r"\| *\d+ *\|", line):
            is_untrained = "-untrained" in line
        if line.startswith("- outputs/demo/") or (is_untrained and "└" in line):
            continue
        kept.append(line)
    return "\n".join(kept) + "\n"


def record(name: str) -> dict:
    """What a benchmark has written."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def families_table() -> str:
    """Which families of models can be evaluated, and what is missing of each."""
    lines = ["| family | for example | kind | result |", "|---|---|---|---|"]
    for family in record("model_families")["families"]:
        result = family["result"]
        if result == "evaluated":
            missing = [] if family["loss"] else ["loss"]
            if family["kind"] == "decoder":
                missing += [] if family["own_tower"] else ["own vision tower"]
                missing += [] if family["image_controls"] else ["image controls"]
            result += f", without {' and '.join(missing)}" if missing else ""
        lines.append(f"| `{family['family']}` | {family['models']} | {family['kind']} | {result.replace('|', ' ')} |")
    return "\n".join(lines)


def summary_table() -> str:
    """The README's few lines of what was measured beside others: also where the others are better."""
    losses = {row["loss"]: row for row in record("contrastive_loss")["losses"] if row["pairs"] == 16_384}
    caches = {row["way"]: row for row in record("gradient_cache")["runs"] if row["texts"] == "all different"}
    photographs = record("encoder_end_to_end")["photographs"]["ways"]
    recalls = record("encoder_end_to_end")["sample"]["ways"]
    parts = record("decoder_end_to_end")["parts"]

    def best_trl(ways: dict) -> dict:
        return max((ways[name] for name in ways if name in TRL_BEST), key=lambda way: way["samples_per_second"])

    slake, everything = (parts[name]["ways"] for name in ("real slake", "all"))
    rows = [
        (
            "encoder: memory of the loss of 16,384 pairs (lower is better)",
            *(f"{losses[name]['peak_mib']:,} MiB" for name in ("ours", "open_clip")),
            OPEN,
        ),
        (
            "encoder: relative error of the gradient of 64 pairs, 8 at a time (lower is better)",
            f"{caches['GradCache']['gradient_error']:.0e}",
            f"{caches['plain accumulation']['gradient_error']:.2g}",
            PLAIN,
        ),
        (
            "encoder: training on photographs, pairs per second (higher is better)",
            *(f"{photographs[way]['steady_samples_per_second']:.0f}" for way in ("ours", "run_clip")),
            "`run_clip.py`",
        ),
        (
            "encoder: best R@5 from random weights, equally many epochs (higher is better)",
            *(f"{recalls[way]['best_recall_at_5']:.3f}" for way in ("ours", "loop")),
            "softmax loop with accumulation",
        ),
        (
            "decoder: training on real SLAKE questions, rows per second (higher is better)",
            *(f"{way['samples_per_second']:.1f}" for way in (slake["ours"], best_trl(slake))),
            "TRL",
        ),
        (
            "decoder: held-out loss after the same number of training rows, synthetic sample (lower is better)",
            *(f"{way['held_out_loss']:.2f}" for way in (everything["ours"], best_trl(everything))),
            "TRL",
        ),
    ]
    lines = [COMPARED, RULE]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def encoder_machine() -> str:
    """Where and with what the encoder's benchmarks ran."""
    versions = record("contrastive_loss")["versions"]
    dates = sorted({record(name)["date"] for name in ENCODER_RECORDS})
    return f"2 cores, torch {versions['torch']}, transformers {versions['transformers']}, {' to '.join(dates)}"


def encoder_table() -> str:
    """What was measured of the encoder beside its baselines, a line each."""
    losses = {row["loss"]: row for row in record("contrastive_loss")["losses"] if row["pairs"] == 16_384}
    caches = {row["way"]: row for row in record("gradient_cache")["runs"] if row["texts"] == "all different"}
    inputs = record("encoder_input")["collections"]
    whole = record("encoder_end_to_end")
    ours, full = losses["ours"], losses["open_clip"]
    cache, accumulation = caches["GradCache"], caches["plain accumulation"]
    fast, slow = (choose(one["times_faster"] for one in inputs) for choose in (max, min))
    rows = [
        (
            f"loss of 16,384 pairs: memory above its inputs {LOWER}",
            f"{ours['peak_mib']:,} MiB",
            f"{full['peak_mib']:,} MiB",
            OPEN,
        ),
        (f"... seconds, forward and backward {LOWER}", f"{ours['seconds']:.1f}", f"{full['seconds']:.1f}", OPEN),
        (
            f"gradient of 64 pairs, 8 at a time: its relative error {LOWER}",
            f"{cache['gradient_error']:.0e}",
            f"{accumulation['gradient_error']:.2g}",
            PLAIN,
        ),
        (f"... time, relative to accumulation {LOWER}", f"{cache['times_plain_accumulation']:.2f}", "1", PLAIN),
        (SPEED, f"{slow:.0f} to {fast:.0f}", "1", STOCK),
    ]
    for name, baseline in (
        ("SiglipModel and Trainer, as `run_clip.py`", "run_clip"),
        ("softmax loop with accumulation", "loop"),
    ):
        for title, part in (("drawn images", "sample"), ("photographs", "photographs")):
            ways = whole[part]["ways"]
            speeds = (f"{ways[way]['steady_samples_per_second']:.0f}" for way in ("ours", baseline))
            rows.append((f"training on {title}, pairs/s {HIGHER}", *speeds, name))
        for way, title in (("ours", ""), ("ours, the loop's loss", ", with the loop's loss")):
            if title and baseline != "loop":
                continue
            recalls = (f"{whole['sample']['ways'][one]['best_recall_at_5']:.3f}" for one in (way, baseline))
            rows.append((f"best R@5 of equally many epochs, from random weights{title} {HIGHER}", *recalls, name))
    lines = [COMPARED, RULE]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def decoder_machine() -> str:
    """Where and with what the decoder's benchmarks ran."""
    versions = record("decoder_end_to_end")["versions"]
    dates = sorted({record(name)["date"] for name in DECODER_RECORDS})
    names = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "trl"))
    return f"2 cores, one thread, {names}, {' to '.join(dates)}"


def decoder_share() -> str:
    """The vision tower's share of the forward FLOPs, over the sets of rows."""
    shares = sorted(part["model"]["vision_tower"] for part in record("decoder_end_to_end")["parts"].values())
    return f"{shares[0]:.0%} to {shares[-1]:.0%}"


def decoder_table() -> str:
    """What was measured of the decoder beside its baselines, a line each."""
    parts = {"slake": "questions of the sample", "real slake": "real SLAKE questions", "all": "all of the sample"}
    rows = []
    for part, title in parts.items():
        if part not in (found := record("decoder_end_to_end")["parts"]):
            continue
        ways = found[part]["ways"]
        best = max((name for name in ways if name in TRL_BEST), key=lambda name: ways[name]["samples_per_second"])
        for way, name in ((best, "TRL's SFTTrainer"), ("Trainer", "stock Trainer")):
            if way in ways:
                speeds = (f"{ways[one]['samples_per_second']:.1f}" for one in ("ours", way))
                rows.append((f"training on {title}, rows/s {HIGHER}", *speeds, name))
        losses = (f"{ways[one]['held_out_loss']:.2f}" for one in ("ours", best))
        rows.append((f"... held-out loss after the same number of training rows {LOWER}", *losses, "TRL's SFTTrainer"))
    heads = {(row["batch"], row["head_learns"], row["path"]): row for row in record("decoder_head")["heads"]}
    for batch, learns, title in (
        ("short answers", False, f"output layer and loss: peak memory for 1,024 tokens with 52 labels {LOWER}"),
        ("report", False, f"... for a report in which every token is a label {LOWER}"),
        ("report", True, f"... with a trainable output layer {LOWER}"),
    ):
        sizes = (f"{heads[batch, learns, path]['peak_mib']:,} MiB" for path in ("ours", "transformers"))
        rows.append((title, *sizes, "MllamaForConditionalGeneration"))
    inputs = [one["times_faster"] for one in record("decoder_input")["collections"]]
    fast = f"{min(inputs):.0f} to {max(inputs):.0f}"
    rows.append((SPEED, fast, "1", STOCK))
    lines = [COMPARED, RULE]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def decoder_memory_shape() -> str:
    """What the rows of the memory table are about."""
    found = record("decoder_memory")
    return (
        f"rows of {found['tokens']} tokens, {found['learned_tokens']} of them labels, one image of four tiles per row; "
        f"10 % of the GPU memory is reserved for CUDA; torch {found['versions']['torch']}, {found['date']}"
    )


def decoder_memory_table() -> str:
    """Which training of Llama 3.2 11B fits which GPU: the largest batch of a process."""
    found = record("decoder_memory")
    gpus = list(found["gpus"])
    lines = [
        f"| training | peak, 1 row | {' | '.join(gpus)} |",
        f"|---|--:|{'--:|' * len(gpus)}",
    ]
    for row in found["trainings"]:
        batches = (row["largest_batch"].get(gpu) for gpu in gpus)
        cells = ("same" if batch is None else str(batch) if batch else "-" for batch in batches)
        name = {"head": "lm_head"}.get(row["training"], row["training"])  # as --train_scope calls it
        lines.append(f"| {name} | {row['peak_gib']['1']:.1f} GiB | {' | '.join(cells)} |")
    return "\n".join(lines)


def privacy_table() -> str:
    """What became of the identifiers that were planted, and what was flagged for nothing."""
    measured = record("privacy_probe")
    named = {
        "DICOM headers": ("header",),
        "columns of tables, by their names or values": ("column",),
        "names of files and folders": ("name",),
        "texts of rows with columns that identify": ("text, en", "text, zh"),
        "texts of rows without": ("text, en-bare", "text, zh-bare"),
        "texts of rows without, held-out sentences, English": ("text, en-held-out",),
        "texts of rows without, held-out sentences, Chinese": ("text, zh-held-out",),
    }
    lines = ["| identifiers planted in | caught |", "|---|---:|"]
    for shown, keys in named.items():
        caught, planted = (sum(measured["caught"][key][what] for key in keys) for what in ("caught", "planted"))
        lines.append(f"| {shown} | {caught:,} of {planted:,} |")
    alarms = measured["false_alarms"].values()
    flagged, sentences = (sum(count[what] for count in alarms) for what in ("flagged", "sentences"))
    return "\n".join([*lines, f"| clean sentences that were flagged | {flagged:,} of {sentences:,} |"])


def small_picture(build: Path) -> bytes:
    """The contact sheet of a build as the pages show it: a JPEG of WIDTH pixels."""
    from PIL import Image

    with Image.open(build / "assets" / "contact_sheet.png") as sheet:
        small = sheet.convert("RGB").resize(
            (WIDTH, round(sheet.height * WIDTH / sheet.width)), Image.Resampling.LANCZOS
        )
    file = io.BytesIO()
    small.save(file, "JPEG", quality=60, optimize=True)
    return file.getvalue()


def main(argv: list[str] | None = None) -> int:
    """The command. A word is the folder of a build, whose contact sheet becomes the picture."""
    for page in pages():
        page.write_text(with_record(page.read_text(encoding="utf-8")), encoding="utf-8")
    for folder in sys.argv[1:] if argv is None else argv:
        PICTURE.write_bytes(small_picture(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
