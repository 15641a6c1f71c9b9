"""The flags of the decoder's training, with their defaults: the specification's where it names one."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.base.arguments import ImageArguments, MedicalTrainingArguments, flag

LM_HEAD, ADAPTER, LORA, LORA_ALL, FULL = "lm_head", "adapter", "lora", "lora_all", "full"
SCOPES = (LM_HEAD, ADAPTER, LORA, LORA_ALL, FULL)
MERGED, BOTH = "merged", "both"
LIGER_HEADS = ("fused_linear_cross_entropy", "cross_entropy")


@dataclass
class DecoderTrainingArguments(MedicalTrainingArguments):
    """TrainingArguments with the specification's defaults for the decoder."""

    output_dir: str | None = flag("checkpoints/decoder_finetuned", "Where checkpoints and the model are written.")
    per_device_train_batch_size: int = flag(1, "Rows in a batch.")
    per_device_eval_batch_size: int = flag(1, "Rows in a batch of the evaluation.")
    gradient_accumulation_steps: int = flag(4, "Batches whose gradients are added up before an update.")
    learning_rate: float = flag(2e-4, "Peak learning rate of AdamW.")
    weight_decay: float = flag(0.01, "Weight decay of AdamW.")
    num_train_epochs: float = flag(1, "Epochs; 0 saves the starting model without training it.")
    logging_nan_inf_filter: bool = flag(False, "Hide a loss that is no number from the log; looking costs time.")
    use_liger_kernel: bool | None = flag(
        None,
        "Compute norms, rotations and feed-forward layers with Liger's kernels. Unless given, where there is a GPU and "
        "liger-kernel is installed.",
        nargs="?",
        const=True,
    )

    def __post_init__(self) -> None:
        # Trainer takes every metric for one of which more is better whose name does not end with "loss"
        if self.greater_is_better is None and (self.metric_for_best_model or "").endswith("perplexity"):
            self.greater_is_better = False
        super().__post_init__()
        self.decide_liger()
        settings = dict(self.activation_checkpointing_kwargs or {})
        if settings.setdefault("use_reentrant", False):
            raise ValueError(
                "--activation_checkpointing_kwargs: with use_reentrant the backward pass fails, for the layers share "
                "the image's states; leave it out"
            )
        self.activation_checkpointing_kwargs = self.gradient_checkpointing_kwargs = settings

    def decide_liger(self) -> None:
        """Whether Liger's kernels compute; never its head, for it would take the place of the model's whole forward."""
        import torch
        from transformers.utils import is_liger_kernel_available

        installed = is_liger_kernel_available()
        if self.use_liger_kernel is None:
            self.use_liger_kernel = installed and torch.cuda.is_available() and not self.use_cpu
        if not self.use_liger_kernel:
            return
        if not installed:
            raise ValueError("--use_liger_kernel: liger-kernel is not installed; pip install liger-kernel")
        chosen = self.liger_kernel_config or {}
        if heads := [name for name in LIGER_HEADS if chosen.get(name)]:
            raise ValueError(f"--liger_kernel_config {heads[0]}: the loss is over labels alone already; leave it out")
        self.liger_kernel_config = chosen | dict.fromkeys(LIGER_HEADS, False)


@dataclass
class DecoderInputArguments(ImageArguments):
    """How conversations become batches."""

    max_seq_length: int = flag(512, "Longest row in tokens; longer answers are cut at their end.")
    train_on_prompt: bool = flag(
        False, "Train on questions and headers too, not on the answers alone; never on the image token nor on padding."
    )
    rows_per_image: int | None = flag(
        None,
        "Rows of one image that are put into a batch together, so that the vision tower runs once for them; 1 draws "
        "rows independently. Unless given, as many as the batch holds.",
    )
    group_by_length: bool = flag(
        False,
        "Put rows of similar length into a batch, so that less of it is padding; updates are then less alike, and "
        "learn a little less each.",
    )
    isolate_rows: bool = flag(
        True,
        "Keep tokens that must not see an image from seeing one; False computes as the stock model does, in which rows "
        "without an image depend on the other rows of their batch.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_seq_length < 1:
            raise ValueError(f"--max_seq_length {self.max_seq_length}: at least 1")
        if self.rows_per_image is not None and self.rows_per_image < 1:
            raise ValueError(f"--rows_per_image {self.rows_per_image}: at least 1")


@dataclass
class DecoderTuningArguments(DecoderInputArguments):
    """Which weights learn, and how the others are kept."""

    train_scope: str = flag(
        LORA,
        "Which weights learn: `lm_head`; `adapter`, the cross-attention's adapters and the projector; `lora`, adapters "
        "of the text decoder, cross-attention included; `lora_all`, those of the vision tower and the projector too; "
        "`full`, all weights.",
        choices=list(SCOPES),
    )
    lora_r: int = flag(16, "Rank of the adapters.")
    lora_alpha: int = flag(32, "Scale of the adapters, in units of their rank.")
    lora_dropout: float = flag(0.05, "Dropout of the adapters.")
    use_dora: bool = flag(False, "Adapters that learn a weight's length and direction apart (DoRA).")
    modules_to_save: list[str] | None = flag(None, "Modules trained whole beside the adapters, such as lm_head.")  # noqa: RUF009
    load_in_4bit: bool = flag(
        False, "Keep the text decoder's frozen weights in 4 bits (QLoRA, NF4); pip install medpairs[quantization]."
    )
    load_in_8bit: bool = flag(
        False, "Keep the text decoder's frozen weights in 8 bits; pip install medpairs[quantization]."
    )
    export: str = flag(
        MERGED,
        "What is written, and pushed: `merged`, a model that opens without peft; `adapter`, the adapters alone; "
        "`both`, the model, and the adapters in `adapter/`.",
        choices=[MERGED, ADAPTER, BOTH],
    )

    @property
    def has_adapters(self) -> bool:
        """Whether weights learn by low-rank adapters."""
        return self.train_scope in (ADAPTER, LORA, LORA_ALL)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora_r < 1 or self.lora_alpha <= 0 or not 0 <= self.lora_dropout < 1:
            raise ValueError("--lora_r and --lora_alpha are at least 1, --lora_dropout is from 0 to below 1")
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("--load_in_4bit --load_in_8bit: give one of them")
        quantised = "--load_in_4bit" if self.load_in_4bit else "--load_in_8bit" if self.load_in_8bit else ""
        if quantised and not self.has_adapters:
            raise ValueError(
                f"{quantised} --train_scope {self.train_scope}: weights of few bits do not learn; give lora"
            )
        only_adapters = {"--use_dora": self.use_dora, "--modules_to_save": self.modules_to_save}
        only_adapters[f"--export {self.export}"] = self.export != MERGED
        for name, given in only_adapters.items():
            if given and not self.has_adapters:
                raise ValueError(f"{name} --train_scope {self.train_scope}: there are no adapters; give lora")


@dataclass
class DecoderArguments(DecoderTuningArguments):
    """What is fitted, to what, and what is seen of it."""

    model_name_or_path: str = flag("meta-llama/Llama-3.2-11B-Vision-Instruct", "Checkpoint to start from.")
    eval_samples: int = flag(
        32,
        "Rows of the evaluation split, the same each time, that are answered and scored at every evaluation: BLEU, "
        "accuracy on open and closed questions, by language. 0 measures the loss alone.",
    )
    num_samples: int = flag(8, "Answers that are shown: with every evaluation, and at the end in samples.jsonl.")
    max_new_tokens: int = flag(128, "Longest generated answer in tokens.")
    dry_run: bool = flag(
        False, "Show batch, labels, what learns, the course of the training and its memory; train and write nothing."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("eval_samples", "num_samples"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} {getattr(self, name)}: 0 or more")
        if self.max_new_tokens < 1:
            raise ValueError(f"--max_new_tokens {self.max_new_tokens}: at least 1")
