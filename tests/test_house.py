"""The project breaks no law of `house_laws.py`, and each law is seen to fail on a breach that is planted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cases import few
from tests.house_laws import (
    FLOORS,
    MAY_IMPORT,
    MOST_FILES,
    MOST_LINES,
    NO_ROOMS,
    SAME_FLOOR,
    breaches,
    imports,
    product_files,
)

ROOT = Path(__file__).resolve().parents[1]


def test_the_project_breaks_no_law():
    assert len(product_files(ROOT)) > 150
    assert [str(breach) for breach in breaches(ROOT)] == []


def test_every_exception_and_every_floor_is_used():
    """An exception that nothing needs any more would let a new breach pass."""
    pairs = {
        (".".join(one.source.split(".")[:2]), ".".join(one.target.split(".")[:2]))
        for path in product_files(ROOT)
        for one in imports(ROOT, path)
    }
    assert pairs >= SAME_FLOOR
    for folder, floors in FLOORS.items():
        for name in set().union(*floors):
            place = ROOT / folder / name
            assert place.is_dir() or place.with_suffix(".py").exists(), place


# A breach of each law: the file, what it holds, the law that names it.
DOC = '"""States what it does."""\n\n'
PLANTED = {
    "an import upwards": ("modeling/mllama/planted.py", f"{DOC}import trainers.run_encoder\n", "imports go down only"),
    "an import upwards in a function": (
        "model_cards/planted.py",
        f"{DOC}def f():\n    from hub_datasets import schema\n    return schema\n",
        "imports go down only",
    ),
    "an import upwards for types": (
        "evaluation/planted.py",
        f"{DOC}from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from trainers import run_encoder\n",
        "imports go down only",
    ),
    "tests in the product": ("evaluation/planted.py", f"{DOC}from tests import readme\n", "imports go down only"),
    "import_module": (
        "evaluation/planted.py",
        f'{DOC}from importlib import import_module\n\nx = import_module("evaluation.loading")\n',
        "no import by a name in a string",
    ),
    "__import__": ("evaluation/planted.py", f'{DOC}x = __import__("trainers")\n', "no import by a name in a string"),
    "importlib": (
        "evaluation/planted.py",
        f'{DOC}import importlib\n\nx = importlib.import_module(f"trainers.{{1}}")\n',
        "no import by a name in a string",
    ),
    "a name in a string upwards": (
        "modeling/mllama/planted.py",
        f'{DOC}import importlib\n\nx = importlib.import_module("trainers.run_encoder")\n',
        "imports go down only",
    ),
    "a room above": (
        "hub_datasets/texts/planted.py",
        f"{DOC}from hub_datasets.ingest import ingest\n",
        "rooms import downwards only",
    ),
    "a room beside": (
        "trainers/encoder/planted.py",
        f"{DOC}from trainers.decoder.model import x\n",
        "rooms import downwards only",
    ),
    "a room beside, in a function": (
        "trainers/decoder/planted.py",
        f"{DOC}def f():\n    import trainers.encoder.model\n",
        "rooms import downwards only",
    ),
    "a room without a floor": (
        "trainers/planted/one.py",
        f"{DOC}from trainers.base import arguments\n",
        "every room has its floor",
    ),
    "a circle in functions": (
        "model_cards/planted.py",
        f"{DOC}def f():\n    from model_cards import results\n",
        "no circles",
    ),
    "a model folder that needs the project": (
        "modeling/siglip_medical/planted.py",
        f"{DOC}from modeling.tiny_checkpoints import x\n",
        "what travels is complete",
    ),
    "a model folder that names itself": (
        "modeling/siglip_medical/planted.py",
        f"{DOC}from modeling.siglip_medical.positive_pairs import x\n",
        "what travels is complete",
    ),
    "a relative import out of a model folder": (
        "modeling/siglip_medical/planted.py",
        f"{DOC}from ..tiny_checkpoints import x\n",
        "what travels is complete",
    ),
    "a metric that needs the project": (
        "evaluation/metrics/vqa_accuracy/planted.py",
        f"{DOC}from model_cards.results import x\n",
        "what travels is complete",
    ),
    "a long file": ("evaluation/planted.py", DOC + "x = 1\n" * (MOST_LINES + 1), "a file fits on a few screens"),
    "a full folder": (
        "evaluation/planted/file{}.py",
        DOC,
        "a folder is seen at a glance",
    ),
    "a folder for a file": ("evaluation/scoring/planted/one.py", DOC, "no folder for a single file"),
    "utils": ("evaluation/scoring/utils.py", DOC, "a name says what is inside"),
    "a folder common": ("trainers/base/common/one.py", DOC, "a name says what is inside"),
    "eval": ("evaluation/planted.py", f'{DOC}x = eval("1")\n', "no pickles, shells or evaluated text"),
    "pickle": ("evaluation/planted.py", f"{DOC}x = pickle.load(f)  # noqa\n", "no pickles, shells or evaluated text"),
    "a shell": ("evaluation/planted.py", f"{DOC}run(x, shell=True)\n", "no pickles, shells or evaluated text"),
    "torch.load": ("trainers/base/planted.py", f"{DOC}torch.load(f)\n", "no pickles, shells or evaluated text"),
    "no docstring": ("evaluation/planted.py", "x = 1\n", "every module has a docstring"),
    "an empty package": ("evaluation/planted/__init__.py", "", "every module has a docstring"),
    "a question": ("evaluation/planted.py", '"""What is this?"""\n', "a docstring states"),
    "an old idiom": (
        "evaluation/planted.py",
        '"""Resumes a run; it goes on from there."""\n',
        "a docstring speaks plain English",
    ),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the product's code."""
    root = tmp_path_factory.mktemp("house")
    for folder in MAY_IMPORT:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    # two files that a planted one makes a circle with
    with (root / "model_cards/results.py").open("a", encoding="utf-8") as file:
        file.write("\n\ndef back():\n    from model_cards import planted\n\n    return planted\n")
    return root


FIRST = {law: name for name, (_, _, law) in reversed(PLANTED.items())}  # a breach of each law


@pytest.mark.parametrize("name", few(PLANTED, *FIRST.values()))
def test_a_planted_breach_is_named(name, tree):
    place, text, law = PLANTED[name]
    numbers = range(MOST_FILES + 1) if "{}" in place else [0]
    files = [tree / place.format(number) for number in numbers]
    made = [folder for folder in files[0].parents if not folder.exists()]
    try:
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        found = [breach for breach in breaches(tree) if any(word in str(breach) for word in ("planted", *NO_ROOMS))]
        assert law in {breach.law for breach in found}, [str(breach) for breach in found]
    finally:
        for path in files:
            path.unlink()
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)
