"""The decoder's Trainer keeps no logits."""

from __future__ import annotations


def test_an_evaluation_returns_no_logits(tiny_decoder, chat, tmp_path):
    """Those of one row of 512 tokens take 263 MB at 128,256 words."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from trainers.decoder_arguments import DecoderTrainingArguments
    from trainers.decoder_collator import DecoderCollator
    from trainers.decoder_trainer import DecoderTrainer

    processor = AutoProcessor.from_pretrained(tiny_decoder)
    trainer = DecoderTrainer(
        model=AutoModelForImageTextToText.from_pretrained(tiny_decoder),
        args=DecoderTrainingArguments(output_dir=str(tmp_path), use_cpu=True, disable_tqdm=True, eval_strategy="no"),
        data_collator=DecoderCollator(processor, 512),
        processing_class=processor,
    )
    found = trainer.predict(chat["validation"].select(range(2)))
    assert found.predictions is None and found.metrics["test_loss"] > 0
