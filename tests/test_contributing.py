"""The source and the metric that CONTRIBUTING.md adds work as they stand there: the code is taken from the page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.hub_datasets.layouts import png, read_lines, write_files

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE, METRIC_CODE, METRIC_PAGE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(METRIC_README,) = re.findall(r"^```text\n(---\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(NAME,) = re.findall(r"The file is `hub_datasets/sources/(\w+)\.py`", PAGE)
(LINE,) = re.findall(r"The line is `([\w.]+,)`", PAGE)
METRIC = Path(re.findall(r"The metric, `([\w/]+)\.py`", PAGE)[0])  # its file without the suffix
REQUIREMENTS = re.findall(r"/requirements\.txt +(\S+)$", PAGE, re.MULTILINE)[0]
TABLE = re.search(r"^    (image,.*)\n", PAGE, re.MULTILINE)[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of what a build needs, with the source added as the page says."""
    folder = tmp_path_factory.mktemp("project")
    for room in ("hub_datasets", "model_cards"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / f"hub_datasets/sources/{NAME}.py").write_text(CODE, encoding="utf-8")
    init = folder / "hub_datasets/sources/__init__.py"
    if LINE in init.read_text("utf-8"):  # somebody has added it for good
        return folder
    text, imports = re.subn(r"(?m)^(from hub_datasets\.sources import) ", rf"\1 {NAME}, ", init.read_text("utf-8"))
    text, lines = re.subn(r"(?m)^SOURCES\b.*\(\n", rf"\g<0>    {LINE}\n", text)
    assert imports == lines == 1, "sources/__init__.py is no longer as the page describes it"
    init.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def metric(project) -> Path:
    """The folder of the metric, in a copy of what pushes it."""
    shutil.copytree(ROOT / "evaluation", project / "evaluation", ignore=shutil.ignore_patterns("__pycache__"))
    folder = project / METRIC.parent
    folder.mkdir(exist_ok=True)
    files = {f"{METRIC.name}.py": METRIC_CODE, "app.py": METRIC_PAGE, "README.md": METRIC_README}
    files |= {"__init__.py": '"""The length of reports. This folder is a complete Space."""\n'}
    write_files(folder, files | {"requirements.txt": f"{REQUIREMENTS}\n"})
    return folder


@pytest.fixture(scope="module")
def build(project, run):
    def command(*words: object, check: bool = True):
        environment = {"PYTHONPATH": str(project)}
        return run("python", "hub_datasets/build.py", *words, cwd=project, env=environment, check=check)

    return command


def test_the_page_is_short():
    assert len(CODE.splitlines()) < 60 and NAME in LINE


def test_the_linter_has_no_objection(project, metric, run):
    files = (project / f"hub_datasets/sources/{NAME}.py", *metric.glob("*.py"))
    for command in ("check", "format --check"):
        run("python", "-m", "ruff", *command.split(), "--config", ROOT / "pyproject.toml", *files)


def test_the_source_builds_a_dataset_that_loads(build, tmp_path):
    from datasets import load_dataset

    rows = [f"images/{n:04}_{eye}.png,{n % 5},{eye},{n:04}" for n in range(20) for eye in ("left", "right")]
    faults = ["images/0000_left.png,5,left,0000", "images/0000_left.png,1", "images/9999_left.png,1,left,9999"]
    images = {row.split(",")[0]: png(4000 + n) for n, row in enumerate(rows)}
    write_files(tmp_path / "eyes", images | {"eyes.csv": "\n".join([TABLE, *rows, *faults]) + "\n"})
    flags = ("--val_fraction", "0.3", "--num_proc", "1")
    build("--eyes_dir", tmp_path / "eyes", "--output_dir", tmp_path / "out", *flags)

    pairs = load_dataset(str(tmp_path / "out"), "pairs", cache_dir=str(tmp_path / "cache"))
    found = {row["image_path"]: row for split in pairs.values() for row in split}
    assert len(found) == 40 and set(pairs) == {"train", "validation"}
    row = found["eyes/images/0002_left.png"]
    assert row["text"] == "Fundus photograph of the left eye: moderate diabetic retinopathy."
    assert (row["source_dataset"], row["category"], row["license"]) == ("eyes", "moderate", "CC-BY-4.0")
    patients = [{row["group_id"] for row in split} for split in pairs.values()]
    assert not patients[0] & patients[1] and sum(map(len, patients)) == 20
    chat = load_dataset(str(tmp_path / "out"), "chat", cache_dir=str(tmp_path / "cache"))
    assert sum(split.num_rows for split in chat.values()) == 40

    rejected = {line["item"]: line["code"] for line in read_lines(tmp_path / "out" / "rejections.jsonl")}
    assert rejected == {
        "eyes.csv line 42": "malformed_row", "eyes.csv line 43": "malformed_row", "eyes.csv line 44": "image_missing",
    }  # fmt: skip
    source = json.loads((tmp_path / "out/report.json").read_text("utf-8"))["sources"]["eyes"]
    assert (source["read"], source["accepted"]) == (43, 40)
    assert "Fundus photographs" in (tmp_path / "out/README.md").read_text("utf-8")


@pytest.mark.parametrize(("table", "message"), [(None, "no eyes.csv"), ("image,grade\n", "no column eye, patient")])
def test_its_mistakes_are_told_like_those_of_the_others(build, tmp_path, table, message):
    write_files(tmp_path / "eyes", {"images/1.png": png(1)} | ({"eyes.csv": table} if table else {}))
    process = build("--eyes_dir", tmp_path / "eyes", "--output_dir", tmp_path / "out", check=False)
    assert process.returncode == 2 and message in process.stderr and "Traceback" not in process.stderr


def test_help_names_its_flag(build):
    assert "--eyes_dir" in build("--help").stdout


@pytest.mark.slow
def test_the_metric_is_pushed_and_opens(project, metric, run):
    environment = {"PYTHONPATH": str(project)}
    words = ("--namespace", "org", "--metrics", METRIC.name)
    pushed = run("python", "evaluation/push_metrics.py", *words, cwd=project, env=environment)
    assert pushed.stdout.strip().endswith(f"/spaces/org/{METRIC.name}")
    code = f"""
import evaluate
metric = evaluate.load("org/{METRIC.name}")
print(metric.compute(predictions=["short", "as long"], references=["twice longer", "as long"]))
"""
    scores = run("python", "-c", code, cwd=project, env=environment, fresh_home=True).stdout
    assert "length_ratio" in scores and "0.708" in scores


def test_the_page_of_the_metric_names_what_exists(metric):
    assert f"{METRIC.name}.py" in METRIC_PAGE and "<!-- medpairs:metric -->" in METRIC_README
    other = {path.name for path in (ROOT / METRIC.parent.parent / "vqa_accuracy").iterdir() if path.is_file()}
    own = {name for name in other if name.endswith(".py")} - {"__init__.py", "app.py"}
    assert {path.name for path in metric.iterdir()} == other - own | {f"{METRIC.name}.py"}
