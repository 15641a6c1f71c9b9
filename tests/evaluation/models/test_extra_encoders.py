"""Opens a SentenceTransformer where it is installed, and checks the messages where it or open_clip is not."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

from evaluation.loading import InputError
from evaluation.models.extra_encoders import refuse_tokenizer_settings
from evaluation.models.open_model import open_encoder
from evaluation.models.source import OPEN_CLIP, SENTENCE_TRANSFORMER, find_source
from model_cards.results import RETRIEVAL
from tests.evaluation.models.conftest import flags, one_image

MODULE = "sentence_transformers.models.CLIPModel"


def write_sentence_transformer(clip, folder, module: str = MODULE):
    """The layout of sentence-transformers/clip-ViT-B-32: a list of modules and one of them in a folder."""
    shutil.copytree(clip, folder / "0_CLIPModel")
    modules = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": module}]
    (folder / "modules.json").write_text(json.dumps(modules))
    return flags(model=str(folder))


@pytest.mark.slow
def test_a_sentence_transformer(family, tmp_path):
    pytest.importorskip("sentence_transformers")
    options = write_sentence_transformer(family("clip"), tmp_path)
    source = find_source(options)
    assert (source.task, source.form) == (RETRIEVAL, SENTENCE_TRANSFORMER)
    encoder, plain = open_encoder(source, options), flags(model=str(family("clip")))
    own, images = open_encoder(find_source(plain), plain), [row["images"][0] for row in one_image()]
    for found, expected in (
        (encoder.embed_images(images), own.embed_images(images)),
        (encoder.embed_texts(["liver", "knee"]), own.embed_texts(["liver", "knee"])),
    ):
        unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (found, expected)]
        np.testing.assert_allclose(*unit, atol=1e-5)


def test_without_the_packages_the_extra_is_named(family, tmp_path, monkeypatch):
    for name in ("sentence_transformers", "open_clip"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    options = write_sentence_transformer(family("clip"), tmp_path / "st")
    with pytest.raises(InputError, match=r'a SentenceTransformer: pip install "medpairs\[sbert\]"'):
        open_encoder(find_source(options), options)
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "open_clip_config.json").write_text("{}")
    options = flags(model=str(tmp_path / "open"))
    assert find_source(options).form == OPEN_CLIP
    with pytest.raises(InputError, match=r'a model of open_clip: pip install "medpairs\[openclip\]"'):
        open_encoder(find_source(options), options)
    options = flags(model=str(tmp_path / "open"), dtype="float16")
    with pytest.raises(InputError, match="--dtype has no effect on a model of open_clip"):
        open_encoder(find_source(options), options)


@pytest.mark.slow
@pytest.mark.parametrize("text", [None, {}, {"tokenizer_kwargs": None}, {"tokenizer_kwargs": {"clean": "lower"}}])
def test_tokenizer_settings_of_open_clip_that_are_known(text):
    refuse_tokenizer_settings({"model_cfg": {"text_cfg": text}})


def test_tokenizer_settings_of_open_clip_that_would_run_code_are_refused():
    given = {"strip_sep_token": True, "trust_remote_code": True}
    with pytest.raises(ValueError, match="tokenizer_kwargs that are not known: trust_remote_code"):
        refuse_tokenizer_settings({"model_cfg": {"text_cfg": {"tokenizer_kwargs": given}}})


def test_modules_of_other_packages_are_not_imported(family, tmp_path):
    pytest.importorskip("sentence_transformers")
    options = write_sentence_transformer(family("clip"), tmp_path, "antigravity.Module")
    with pytest.raises(InputError, match=r"its module antigravity\.Module is not a part of sentence-transformers"):
        open_encoder(find_source(options), options)
