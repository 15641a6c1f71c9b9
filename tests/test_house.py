"""The laws of the house: imports go down the road only, and what travels to the Hub travels alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "hub_datasets": {"model_cards"},
    "trainers": {"evaluation", "modeling", "model_cards"},
    "evaluation": {"modeling", "model_cards"},
    "modeling": set(),
    "model_cards": set(),
}
ALONE = [path.parent for path in (ROOT / "evaluation").glob("metrics/*/app.py")] + [ROOT / "modeling" / "siglip_medical"]


def imports(path: Path) -> list[tuple[int, str, int]]:
    """(level, module, line) of every import statement in a file, also of those inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", node.lineno))
    return found


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_down_only(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in files
        for level, module, line in imports(path)
        if level == 0 and module.split(".")[0] in {*MAY_IMPORT, "tests"} - {room} - MAY_IMPORT[room]
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ALONE, ids=lambda folder: folder.name)
def test_what_travels_to_the_hub_imports_nothing_of_the_project(folder):
    for path in folder.glob("*.py"):
        for level, module, line in imports(path):
            own = {*MAY_IMPORT, "tests"} - {folder.name}
            assert level == 1 or module.split(".")[0] not in own, f"{path}:{line} imports {module}"


def test_nothing_loads_pickles_runs_shells_or_evaluates_text():
    """The linter forbids them too; here no comment can wave one through."""
    forbidden = {"eval", "exec", "pickle.load", "pickle.loads", "os.system", "torch.load"}
    for room in MAY_IMPORT:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    assert ast.unparse(node.func) not in forbidden, f"{path}:{node.lineno}"
                    assert not any(word.arg == "shell" for word in node.keywords), f"{path}:{node.lineno}"
