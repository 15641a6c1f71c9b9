"""Defines the flags of the decoder's training, with their default values."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.base.arguments import (
    DATA,
    EVALUATION,
    IMAGES,
    MODEL,
    OUTPUT,
    RUN,
    TEXTS,
    TRAINING,
    TUNING,
    BaseTrainingArguments,
    DataArguments,
    flag,
)

LM_HEAD, ADAPTER, LORA, LORA_ALL, FULL = "lm_head", "adapter", "lora", "lora_all", "full"
SCOPES = (LM_HEAD, ADAPTER, LORA, LORA_ALL, FULL)
MERGED, BOTH = "merged", "both"
LIGER_HEADS = ("fused_linear_cross_entropy", "cross_entropy")


@dataclass
class DecoderTrainingArguments(BaseTrainingArguments):
    """Training arguments of the decoder, with its default values."""

    per_device_train_batch_size: int = flag(TRAINING, 1, "number of rows per micro-batch and device")
    per_device_eval_batch_size: int = flag(EVALUATION, 1, "number of rows per batch of the evaluation and device")
    gradient_accumulation_steps: int = flag(TRAINING, 4, "number of micro-batches per update")
    num_train_epochs: float = flag(TRAINING, 1, "number of epochs; 0 saves the starting model without training it")
    learning_rate: float = flag(TRAINING, 2e-4, "peak learning rate of AdamW")
    weight_decay: float = flag(TRAINING, 0.01, "weight decay of AdamW")
    use_liger_kernel: bool | None = flag(
        TRAINING,
        None,
        "Liger's kernels for norms, rotary embeddings and feed-forward layers (default: True where there is a GPU and "
        "liger-kernel is installed)",
        nargs="?",
        const=True,
    )
    output_dir: str | None = flag(OUTPUT, "checkpoints/decoder_finetuned", "folder for checkpoints and the model")
    logging_nan_inf_filter: bool = flag(
        OUTPUT, False, "omission of NaN and infinite losses from the log; the check takes time"
    )

    def __post_init__(self) -> None:
        # Trainer takes every metric whose name does not end with "loss" for one of which more is better.
        if self.greater_is_better is None and (self.metric_for_best_model or "").endswith("perplexity"):
            self.greater_is_better = False
        super().__post_init__()
        self.decide_liger()
        settings = dict(self.activation_checkpointing_kwargs or {})
        if settings.setdefault("use_reentrant", False):
            raise ValueError(
                "--activation_checkpointing_kwargs: with use_reentrant the backward pass fails, because the layers "
                "share the image's states; leave it out"
            )
        self.activation_checkpointing_kwargs = self.gradient_checkpointing_kwargs = settings

    def decide_liger(self) -> None:
        """Decides whether Liger's kernels compute; never its head, which would replace the model's whole forward."""
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
            raise ValueError(f"--liger_kernel_config {heads[0]}: medpairs computes its own loss; remove this option")
        self.liger_kernel_config = chosen | dict.fromkeys(LIGER_HEADS, False)


@dataclass
class DecoderArguments(DataArguments):
    """What is trained, on what, and which answers are shown."""

    rows_per_image: int | None = flag(
        DATA,
        None,
        "number of rows of one image that share a batch, for which the vision tower runs once; 1 draws rows "
        "independently (default: as many as the batch holds)",
    )
    group_by_length: bool = flag(
        DATA,
        False,
        "batches of rows of similar length: less padding, but less variety per batch, which trains slightly worse",
    )
    isolate_rows: bool = flag(
        IMAGES,
        True,
        "attention to an image only from tokens that may see it; False computes as the stock model does, in which rows "
        "without an image depend on the other rows of their batch",
    )
    max_seq_length: int = flag(TEXTS, 512, "maximum length of a row in tokens; longer answers are truncated")
    train_on_prompt: bool = flag(
        TEXTS, False, "training on questions and headers as well as answers; never on the image token or on padding"
    )
    model_name_or_path: str = flag(MODEL, "meta-llama/Llama-3.2-11B-Vision-Instruct", "checkpoint to start from")
    train_scope: str = flag(
        TUNING,
        LORA,
        "trainable weights: `lm_head`; `adapter`, low-rank adapters of the cross-attention, and the projector; `lora`, "
        "adapters of the text decoder, cross-attention included; `lora_all`, those of the vision tower and the "
        "projector as well; `full`, all weights",
        choices=list(SCOPES),
    )
    lora_r: int = flag(TUNING, 16, "rank of the adapters")
    lora_alpha: int = flag(TUNING, 32, "scale of the adapters, in units of their rank")
    lora_dropout: float = flag(TUNING, 0.05, "dropout of the adapters")
    use_dora: bool = flag(TUNING, False, "adapters that train a weight's length and direction separately (DoRA)")
    modules_to_save: list[str] | None = flag(  # noqa: RUF009
        TUNING, None, "modules trained in full beside the adapters, for example lm_head (default: none)"
    )
    load_in_4bit: bool = flag(
        TUNING, False, "frozen weights of the text decoder in 4 bits (QLoRA, NF4); pip install medpairs[quantization]"
    )
    load_in_8bit: bool = flag(
        TUNING, False, "frozen weights of the text decoder in 8 bits; pip install medpairs[quantization]"
    )
    export: str = flag(
        OUTPUT,
        MERGED,
        "form of the final model: `merged`, a model that opens without peft; `adapter`, the adapters alone; `both`, "
        "the model, and the adapters in `adapter/`",
        choices=[MERGED, ADAPTER, BOTH],
    )
    eval_samples: int = flag(
        EVALUATION,
        32,
        "number of rows of the evaluation split, always the same, that are answered and scored at every evaluation: "
        "BLEU, accuracy on open and closed questions, by language; 0 measures the loss alone",
    )
    num_samples: int = flag(
        EVALUATION, 8, "number of answers shown at every evaluation, and at the end in samples.jsonl"
    )
    max_new_tokens: int = flag(EVALUATION, 128, "maximum length of a generated answer in tokens")
    dry_run: bool = flag(
        RUN,
        False,
        "preview of a batch, its labels, the trainable weights, the schedule and the memory; nothing is trained or "
        "written",
    )

    @property
    def has_adapters(self) -> bool:
        """Whether low-rank adapters are trained."""
        return self.train_scope in (ADAPTER, LORA, LORA_ALL)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_seq_length", "rows_per_image", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} {value}: must be at least 1")
        for name in ("eval_samples", "num_samples"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} {getattr(self, name)}: must be 0 or more")
        self.check_tuning()

    def check_tuning(self) -> None:
        """Raises ValueError where flags about trainable weights contradict each other."""
        self.check_adapters()
        if self.load_in_4bit and self.load_in_8bit:
            raise ValueError("--load_in_4bit cannot be combined with --load_in_8bit; give one of them")
        quantized = "--load_in_4bit" if self.load_in_4bit else "--load_in_8bit" if self.load_in_8bit else ""
        if quantized and not self.has_adapters:
            raise ValueError(
                f"{quantized} cannot be combined with --train_scope {self.train_scope}: quantized weights are not "
                "trainable; give lora"
            )
        only_adapters = {"--use_dora": self.use_dora, "--modules_to_save": self.modules_to_save}
        only_adapters[f"--export {self.export}"] = self.export != MERGED
        for name, given in only_adapters.items():
            if given and not self.has_adapters:
                raise ValueError(f"{name} requires --train_scope lora, lora_all or adapter, not {self.train_scope}")
