"""Imports what the commands of the project import, once, for the processes that `tests/forked.py` starts."""

# ruff: noqa: F401

import matplotlib.backends.backend_agg
import transformers.models.mllama.modeling_mllama
import transformers.models.siglip.modeling_siglip

import evaluation.leaderboard
import evaluation.publish_results
import evaluation.push_metrics
import evaluation.run_evaluation
import hub_datasets.build
import hub_datasets.chat
import hub_datasets.decisions
import hub_datasets.engines
import hub_datasets.leakage
import hub_datasets.med_pairs
import hub_datasets.output
import hub_datasets.publish
import hub_datasets.report
import hub_datasets.rows
import hub_datasets.shards
import hub_datasets.staging
import model_cards.dataset_card
import model_cards.model_card
import modeling.tiny_checkpoints
import trainers.chat_tokens
import trainers.decoder_export
import trainers.decoder_rows
import trainers.decoder_trainer
import trainers.decoder_tuning
import trainers.encoder_rows
import trainers.encoder_trainer
import trainers.run_decoder
import trainers.run_encoder
