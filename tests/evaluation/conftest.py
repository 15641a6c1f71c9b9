"""Provides a small build, tiny models, and checks for every metric folder, which must work without the project."""

from __future__ import annotations

import ast
import json
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.evaluation import small_run

REPOSITORY = Path(__file__).parents[2]
IMPORTED_AS = {"scikit-learn": "sklearn"}  # packages whose modules have another name


@pytest.fixture(scope="session")
def build(made_once) -> Path:
    return made_once("small-build", small_run.write_build) / "data"


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> Path:
    return small_run.write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def decoder(tmp_path_factory) -> Path:
    return small_run.write_decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="session")
def dataset_on_hub(build, hub, tmp_path_factory) -> str:
    from hub_datasets.output.publish import push_dataset

    copy = shutil.copytree(build, tmp_path_factory.mktemp("pushed") / "data")  # a push notes there where it went
    push_dataset(copy, small_run.DATASET)
    return small_run.DATASET


@pytest.fixture(scope="session")
def trained_encoder(dataset_on_hub, run, tmp_path_factory) -> tuple[Path, str]:
    """The folder of an encoder that was trained and pushed to `small_run.ENCODER`, and the output of the training."""
    folder = tmp_path_factory.mktemp("trained") / "encoder"
    return folder, small_run.train_encoder(run, folder)


@pytest.fixture(scope="session")
def trained_decoder(dataset_on_hub, run, tmp_path_factory) -> tuple[Path, str]:
    """The same for a decoder and `small_run.DECODER`."""
    folder = tmp_path_factory.mktemp("trained") / "decoder"
    return folder, small_run.train_decoder(run, folder)


@pytest.fixture(scope="session")
def check_space(tmp_path_factory, hub, run):
    """A function: check_space(name) asserts all that makes `evaluation/NAME` a complete Space, and returns what its
    page answers to its own example."""

    def check(name: str) -> dict:
        folder = REPOSITORY / "evaluation/metrics" / name
        check_front_matter(folder)
        check_imports(folder)
        check_from_hub(folder, tmp_path_factory.mktemp(name), hub, run)
        return check_alone(folder, tmp_path_factory.mktemp(name), run)

    return check


def check_front_matter(folder: Path) -> None:
    _, front_matter, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    fields = yaml.safe_load(front_matter)
    assert fields["sdk"] == "gradio" and fields["sdk_version"]
    assert (folder / fields["app_file"]).is_file()
    assert fields["pinned"] is False
    assert fields["tags"] == ["evaluate", "metric"]
    assert len(fields["short_description"]) <= 60  # the Hub refuses longer ones
    from model_cards.card_update import contents

    assert list(contents(body)) == ["metric"]  # what a later push renews; a person's text is kept around it
    for heading in ("Description", "Definition", "How to use", "Inputs", "Outputs", "Limits", "Citation"):
        assert f"\n## {heading}\n" in body


def check_imports(folder: Path) -> None:
    """Checks that a file imports only the standard library, files of its folder, and packages in requirements.txt."""
    required = {line.split(">")[0].split("=")[0] for line in (folder / "requirements.txt").read_text().split()}
    required = {IMPORTED_AS.get(name, name) for name in required}
    used = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert len(node.names) == 1, f"{path.name}: evaluate reads `import a, b` as a package called `a,`"
                used.add(node.names[0].name.partition(".")[0])
            elif isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1 and (folder / f"{node.module}.py").is_file(), f"{path.name}: {node.module}"
            elif isinstance(node, ast.ImportFrom):
                used.add(node.module.partition(".")[0])
    assert used - set(sys.stdlib_module_names) == required | {"gradio"}  # sdk_version stands for Gradio


def check_alone(folder: Path, elsewhere: Path, run) -> dict:
    """Loads a copy outside of the repository in a new process, and runs the examples of its README and its page."""
    shutil.copytree(folder, elsewhere / "org" / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    script = shutil.copy(Path(__file__).with_name("run_alone.py"), elsewhere)
    offline = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": None}
    done = run("python", "-I", "-X", "utf8", script, folder.name, cwd=elsewhere, env=offline, fresh_home=True)
    report = json.loads(done.stdout.splitlines()[-1])

    assert report["failed"] == 0, report["output"]
    assert report["attempted"] >= 4
    assert report["metric_type"].startswith(f"evaluate_modules.metrics.{folder.name}")
    assert report["connections"] == []
    includes = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    ours = {pattern.rstrip("*") for pattern in includes["include"]}
    assert "evaluation" in ours
    assert not ours & set(report["modules"])
    assert report["page_fits"]
    assert "Expecting value" in report["page_refusal"]  # a message of the JSON parser, shown on the page
    assert report["page_article"].lstrip().startswith("# ")
    return report["page_scores"]


def check_from_hub(folder: Path, elsewhere: Path, hub, run) -> None:
    """Publishes the folder as a Space and loads the metric by its name on the Hub."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    name = f"org/{folder.name}"
    api.create_repo(name, repo_type="space", space_sdk="gradio", exist_ok=True)
    api.upload_folder(repo_id=name, repo_type="space", folder_path=folder, ignore_patterns=["__pycache__/*"])
    code = f"import evaluate; print(type(evaluate.load({name!r})).__module__)"
    done = run("python", "-I", "-c", code, cwd=elsewhere, env={"PYTHONPATH": None}, fresh_home=True)
    assert done.stdout.startswith(f"evaluate_modules.metrics.org--{folder.name}")
