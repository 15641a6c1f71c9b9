"""Imports what the commands of the project import, once, for the processes that `tests/forked.py` starts.

It compiles the templates of cards as well; pictures of a card are drawn once for all of these processes.
"""

# ruff: noqa: E402, F401

import gc

gc.disable()

from model_cards import rendering
from tests import drawn_once

drawn_once.compile_once()

import matplotlib.backends.backend_agg
import transformers.models.mllama.modeling_mllama
import transformers.models.siglip.modeling_siglip

import evaluation.leaderboard
import evaluation.publish_results
import evaluation.push_metrics
import evaluation.run_evaluation
import hub_datasets.build
import hub_datasets.chat.conversations
import hub_datasets.ingest.executors
import hub_datasets.ingest.ingest
import hub_datasets.med_pairs
import hub_datasets.output.folder
import hub_datasets.output.parquet
import hub_datasets.output.publish
import hub_datasets.output.report
import hub_datasets.output.rows
import hub_datasets.splits.assignment
import hub_datasets.splits.leakage
import model_cards.dataset_card
import model_cards.model_card
import modeling.tiny_checkpoints
import trainers.decoder.data.dataset
import trainers.decoder.data.tokenization
import trainers.decoder.export
import trainers.decoder.trainer
import trainers.decoder.tuning
import trainers.encoder.data.dataset
import trainers.encoder.trainer
import trainers.run_decoder
import trainers.run_encoder

drawn_once.draw_once()
for name in ("dataset_card.md", "model_card.md"):
    rendering.environment().get_template(name)
gc.freeze()  # what is imported is no garbage of a process that is forked
gc.enable()
