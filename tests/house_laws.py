"""The laws of the house as data, and `breaches`, which names every place in a tree that breaks one."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# 1. Which of the other top folders a folder may import.
MAY_IMPORT = {
    "hub_datasets": {"model_cards"},
    "trainers": {"evaluation", "modeling", "model_cards"},
    "evaluation": {"modeling", "model_cards"},
    "modeling": set(),
    "model_cards": set(),
}
# The rooms of a folder from the top floor down: a room imports those of the floors below and itself, nothing beside it.
FLOORS: dict[str, list[set[str]]] = {
    "hub_datasets": [
        {"build", "med_pairs", "generate_sample", "ingest_caches", "where"},
        {"output", "options"},
        {"splits", "flags"},
        {"ingest"},
        {"images", "sources", "synthetic"},
        {"privacy"},
        {"texts", "chat", "filesystem"},
        {"schema", "records", "errors"},
    ],
    "trainers": [{"run_encoder", "run_decoder"}, {"encoder", "decoder"}, {"images"}, {"base"}, {"memory"}],
    "evaluation": [
        {"run_evaluation", "rules", "publish_results", "push_metrics", "leaderboard", "verify", "speed"},
        {"task_scores", "timing", "record_checks"},
        {"controls", "classification"},
        {"records"},
        {"models"},
        {"datasets"},
        {"scoring", "folder_caches"},
        {"metrics", "loading"},
    ],
    "modeling": [{"tiny_checkpoints", "tokenizer_audit"}, {"siglip_medical", "mllama"}],
}
# Imports within a floor that are meant, each with its reason.
SAME_FLOOR = {
    ("hub_datasets.med_pairs", "hub_datasets.build"),  # the Python door runs the command's build
    ("evaluation.run_evaluation", "evaluation.publish_results"),  # --push_to_hub publishes what was scored
}
# 2. Folders that are uploaded as they are: everything in them is found beside them.
ALONE = ("modeling/siglip_medical", "evaluation/metrics/*")
# 5. and 7.
MOST_LINES, MOST_FILES = 400, 14
NO_ROOMS = {"utils", "util", "common", "misc", "helpers", "helper", "tools", "shared", "lib"}

FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "pickle.load", "pickle.loads", "pickle.Unpickler", "os.system", "os.popen", "torch.load",
    "yaml.unsafe_load", "marshal.loads", "shelve.open",
}  # fmt: skip
IMPORTERS = re.compile(
    r"(importlib\.)?(import_module|reload|__import__)|(importlib\.)?util\.(find_spec|spec_from_file_location)"
)

# Old idioms of the first version's language; see the style guide: each has a plain replacement.
IDIOMS = re.compile(
    r"\b(is no number|goes on|go on with|as can be|whoever|nobody|anew|likewise|is told|are told|is said|are said|"
    r"it lies|they lie|what learns|two doors|the like of|so many)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, order=True)
class Breach:
    """One place that breaks a law.

    Attributes:
        law: the short name of the law.
        place: file, or file and line, relative to the root.
        what: what is wrong there.
    """

    law: str
    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what} ({self.law})"


@dataclass(frozen=True, slots=True)
class Import:
    """An import of a module of the project.

    Attributes:
        source: the module that imports.
        target: the module that is imported, as deep as a file exists for it.
        line: the line.
        typing: True for one under TYPE_CHECKING, which runs never.
    """

    source: str
    target: str
    line: int
    typing: bool


def breaches(root: Path) -> list[Breach]:
    """Every breach of a law in the tree, sorted."""
    checks = (directions, floors, circles, alone, sizes, rooms, calls, docstrings)
    return sorted({breach for check in checks for breach in check(root)})


def product_files(root: Path) -> list[Path]:
    return sorted(path for folder in MAY_IMPORT for path in (root / folder).rglob("*.py"))


def module_of(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def parsed(path: Path, stamp: int) -> tuple[ast.Module, list[ast.AST]]:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return tree, [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom, ast.Call))]


def tree_of(path: Path) -> ast.Module:
    return parsed(path, path.stat().st_mtime_ns)[0]


def nodes_of(path: Path) -> list[ast.AST]:
    """The imports and calls of a file; it is parsed once, as long as it does not change."""
    return parsed(path, path.stat().st_mtime_ns)[1]


@cache
def callee(node: ast.Call) -> str:
    return ast.unparse(node.func)


@cache
def typing_nodes(tree: ast.Module) -> set[int]:
    """Identities of the nodes under `if TYPE_CHECKING:`."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found |= {id(inner) for statement in node.body for inner in ast.walk(statement)}
    return found


def raw_imports(root: Path, path: Path) -> Iterator[tuple[str, int, int, bool]]:
    """(module, level of a relative import, line, under TYPE_CHECKING) of every import, those in functions too."""
    typing = typing_nodes(tree_of(path))
    module = module_of(root, path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, 0, node.lineno, id(node) in typing
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            for alias in node.names:
                yield f"{base}.{alias.name}", node.level, node.lineno, id(node) in typing
        elif isinstance(node, ast.Call) and IMPORTERS.fullmatch(callee(node)):
            for word in ast.walk(node):
                if isinstance(word, ast.Constant) and isinstance(word.value, str):
                    yield word.value, 0, node.lineno, False


def is_module(root: Path, *parts: str) -> bool:
    place = root.joinpath(*parts)
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def imports(root: Path, path: Path) -> Iterator[Import]:
    """The imports of the project's own modules in a file."""
    source = module_of(root, path)
    for name, _, line, typing in raw_imports(root, path):
        if name.split(".")[0] not in {*MAY_IMPORT, "tests"}:
            continue
        parts = name.split(".")
        while len(parts) > 1 and not is_module(root, *parts):
            parts.pop()
        yield Import(source, ".".join(parts), line, typing)


def place(root: Path, path: Path, line: int = 0) -> str:
    return path.relative_to(root).as_posix() + (f":{line}" if line else "")


def directions(root: Path) -> Iterator[Breach]:
    """Law 1 between the top folders, and law 3: a name in a string is no way around it."""
    for path in product_files(root):
        own = path.relative_to(root).parts[0]
        for one in imports(root, path):
            target = one.target.split(".")[0]
            if target != own and target not in MAY_IMPORT[own]:
                yield Breach("imports go down only", place(root, path, one.line), f"imports {one.target}")
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and IMPORTERS.fullmatch(callee(node)):
                words = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                if any(word.split(".")[0] in {*MAY_IMPORT, "tests"} for word in words):
                    yield Breach("no import by a name in a string", place(root, path, node.lineno), ast.unparse(node))


def floors(root: Path) -> Iterator[Breach]:
    """Law 1 between the rooms of a folder."""
    for path in product_files(root):
        own = path.relative_to(root).parts[0]
        for one in imports(root, path):
            source, target = one.source.split("."), one.target.split(".")
            if own not in FLOORS or target[0] != own or min(len(source), len(target)) < 2 or source[1] == target[1]:
                continue
            floor = {name: number for number, names in enumerate(FLOORS[own]) for name in names}
            for name in (source[1], target[1]):
                if name not in floor:
                    yield Breach("every room has its floor", f"{own}/{name}", "is missing in tests/house_laws.py")
            if source[1] in floor and target[1] in floor and floor[target[1]] <= floor[source[1]]:
                pair = (".".join(source[:2]), ".".join(target[:2]))
                if pair not in SAME_FLOOR or floor[target[1]] < floor[source[1]]:
                    yield Breach("rooms import downwards only", place(root, path, one.line), f"imports {one.target}")


def circles(root: Path) -> Iterator[Breach]:
    """No module reaches itself through imports, those in functions included; types do not count, they run never."""
    graph: dict[str, set[str]] = {}
    for path in product_files(root):
        module = module_of(root, path)
        graph[module] = {one.target for one in imports(root, path) if not one.typing} - {module}

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        left = [start]
        while left:
            for target in graph.get(left.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    left.append(target)
        return seen

    reach = {module: reachable(module) for module in graph}
    told: set[str] = set()
    for module in sorted(graph):
        if module in reach[module] and module not in told:
            circle = sorted(other for other in reach[module] if module in reach.get(other, ()))
            told |= set(circle)
            yield Breach("no circles", module, f"imports itself through {', '.join(circle)}")


def alone(root: Path) -> Iterator[Breach]:
    """Law 2: what travels to the Hub imports nothing of the project but its own folder, by relative imports."""
    for pattern in ALONE:
        for folder in sorted(path for path in root.glob(pattern) if path.is_dir() and path.name != "__pycache__"):
            for path in sorted(folder.glob("*.py")):
                for name, level, line, _ in raw_imports(root, path):
                    first = name.split(".")[0]
                    inside = name.startswith(module_of(root, folder / "__init__.py") + ".") and level == 1
                    if first in {*MAY_IMPORT, "tests"} and not inside and first != folder.name:
                        yield Breach("what travels is complete", place(root, path, line), f"imports {name}")


def sizes(root: Path) -> Iterator[Breach]:
    """Law 5: files and folders that can be taken in at a glance."""
    counts: Counter[Path] = Counter()
    for path in product_files(root):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES:
            yield Breach("a file fits on a few screens", place(root, path), f"{lines} lines, at most {MOST_LINES}")
        counts[path.parent] += path.name != "__init__.py"
    for folder, files in counts.items():
        if files > MOST_FILES:
            yield Breach("a folder is seen at a glance", place(root, folder), f"{files} files, at most {MOST_FILES}")
        if folder.parent != root and files == 1 and not any(path.is_dir() for path in real_folders(folder)):
            yield Breach("no folder for a single file", place(root, folder), "holds one file")


def real_folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__"]


def rooms(root: Path) -> Iterator[Breach]:
    """Law 7: names that say nothing."""
    for path in product_files(root):
        for name in (*path.relative_to(root).parts[:-1], path.stem):
            if name in NO_ROOMS:
                yield Breach("a name says what is inside", place(root, path), f"`{name}`")


def calls(root: Path) -> Iterator[Breach]:
    """Nothing loads pickles, runs shells or evaluates text; no comment can wave one through."""
    for path in product_files(root):
        for node in nodes_of(path):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in FORBIDDEN_CALLS or any(word.arg == "shell" for word in node.keywords):
                    yield Breach(
                        "no pickles, shells or evaluated text", place(root, path, node.lineno), f"calls {name}"
                    )


def docstrings(root: Path) -> Iterator[Breach]:
    """Every module says in indicative sentences what it does."""
    for path in product_files(root):
        text = ast.get_docstring(tree_of(path))
        if path.name == "__init__.py" and not path.read_text(encoding="utf-8").strip():
            yield Breach("every module has a docstring", place(root, path), "is empty")
        elif not text:
            yield Breach("every module has a docstring", place(root, path), "has none")
        elif "?" in re.sub(r"`[^`]*`|\S+://\S+", "", text):
            yield Breach("a docstring states", place(root, path), "asks a question")
        elif found := IDIOMS.search(text):
            yield Breach("a docstring speaks plain English", place(root, path), f"`{found[0]}`")
