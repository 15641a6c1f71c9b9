"""Prints what a bug report needs: versions, machine, GPUs, and settings of the environment without any secret.

medpairs env
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from model_cards.commands.console import Parser, command

ROOT = Path(__file__).resolve().parents[2]
NAME = "medpairs"
# Variables whose values are harmless. Of the others that matter only the names are printed: they may hold a secret.
SHOWN = re.compile(
    r"HF_HOME|HF_(HUB|DATASETS|MODULES|XET)_CACHE|HF_(HUB|DATASETS)_OFFLINE|TRANSFORMERS_OFFLINE|HF_HUB_DISABLE_\w+"
    r"|HF_XET_HIGH_PERFORMANCE|(OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS|OMP_WAIT_POLICY|OMP_PROC_BIND|MKL_CBWR"
    r"|MKL_ENABLE_INSTRUCTIONS|ATEN_CPU_CAPABILITY|CUDA_VISIBLE_DEVICES|CUDA_LAUNCH_BLOCKING|PYTORCH_CUDA_ALLOC_CONF"
    r"|PYTORCH_ALLOC_CONF|TOKENIZERS_PARALLELISM|TORCH_HOME|TMPDIR|PYTHONPATH|WORLD_SIZE|LOCAL_RANK|RANK|SLURM_NNODES"
)
NAMED = re.compile(
    r"(HF|HUGGINGFACE|HUGGING_FACE|TRANSFORMERS|AWS|FSSPEC|WANDB|TRACKIO|RAY|ACCELERATE|NCCL|CUDA|PYTORCH|TORCH)_\w+"
    r"|(HTTPS?|NO|ALL)_PROXY|SSL_CERT_\w+|REQUESTS_CA_BUNDLE",
    re.IGNORECASE,
)
SECRET = re.compile(r"://[^/\s]*@|\bhf_\w+")  # a password in an address, a token of the Hub
# Vector instructions of x86 and Arm, by which the last bits of results differ, as /proc/cpuinfo calls them.
VECTORS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "sve", "bf16")
# In a process of its own: a broken installation of torch is to be reported, not to end the report.
TORCH = """
import torch
print("torch computes with:", torch.backends.cpu.get_cpu_capability(), "on", torch.get_num_threads(), "threads")
print("CUDA:", torch.version.cuda or "not in this build of torch")
for number in range(torch.cuda.device_count()):
    gpu = torch.cuda.get_device_properties(number)
    print(f"GPU {number}: {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, compute capability {gpu.major}.{gpu.minor}")
if not torch.cuda.device_count():
    print("GPU:", "none that CUDA can use" if torch.version.cuda else "none")
"""
TORCH_SECONDS = 120


@command
def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`."""
    parser = Parser(prog="medpairs env", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    for lines in (program_lines, machine_lines, torch_lines, package_lines, setting_lines):
        for line in lines():
            print(line, flush=True)
    return 0


def version() -> str:
    """The version of this project: that of the clone, or of the installed package."""
    if is_clone():
        import tomllib

        return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def is_clone() -> bool:
    """Whether these files are those of the repository."""
    path = ROOT / "pyproject.toml"
    return path.is_file() and f'name = "{NAME}"' in path.read_text(encoding="utf-8")


def program_lines() -> Iterator[str]:
    """The version of this project, with the commit of a clone."""
    commit = ""
    if (ROOT / ".git").exists():
        found = output_of("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
        changed = output_of("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
        commit = f", commit {found}{' with changes' if changed else ''}" if found else ""
    yield f"{NAME}: {version()}{commit}, in {shown(str(ROOT))}"
    yield f"Python: {platform.python_version()} ({platform.python_implementation()}), {shown(sys.executable)}"


def machine_lines() -> Iterator[str]:
    """The operating system, the processor and the memory."""
    yield f"system: {platform.platform()}"
    facts = processor_facts()
    model = facts.get("model name") or platform.processor() or platform.machine()
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"processor: {model}, {os.cpu_count()} cores, {available} of them for this process"
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    if flags:
        yield f"vector instructions: {', '.join(name for name in VECTORS if name in flags) or 'none that matter'}"
    if hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys():
        yield f"memory: {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"


def processor_facts() -> dict[str, str]:
    """What Linux says of the first processor core; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines() if path.is_file() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def torch_lines() -> Iterator[str]:
    """The vector instructions that torch uses, and the GPUs; or why torch cannot be imported."""
    if installed("torch") is None:
        return
    try:
        command = [sys.executable, "-P", "-c", TORCH]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired:
        yield f"torch: it is not imported after {TORCH_SECONDS} s"
        return
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield f"torch: it cannot be imported (exit status {done.returncode}): {said}"
    yield from done.stdout.splitlines()


def package_lines() -> Iterator[str]:
    """The versions of the packages that medpairs uses, with the tested version where another one is installed."""
    tested = tested_versions()
    yield "packages:"
    for name in requirements():
        found, pinned = installed(name), tested.get(canonical(name))
        differs = pinned is not None and found is not None and found.partition("+")[0] != pinned
        yield f"  {name} {found or 'missing'}{f' (tested with {pinned})' if differs else ''}"
    used = {canonical(name) for name in requirements()}
    others = [(name, found, pin) for name, pin in tested.items() if name not in used and (found := installed(name))]
    differing = [f"{name} {found} (tested with {pin})" for name, found, pin in others if found != pin]
    if differing:
        yield f"  others that differ from the tested versions: {', '.join(differing)}"


def requirements() -> list[str]:
    """The packages that medpairs and its extras name."""
    if is_clone():
        import tomllib

        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"]
        lines = [*project["dependencies"], *(line for name, some in extras.items() if name != "dev" for line in some)]
    else:
        try:
            lines = [line for line in metadata.requires(NAME) or [] if not re.search(r"extra == .dev.", line)]
        except metadata.PackageNotFoundError:
            lines = []
    return list(dict.fromkeys(found[0] for line in lines if (found := re.match(r"[\w.-]+", line))))


def tested_versions() -> dict[str, str]:
    """The pins of `constraints.txt` by package, in a clone."""
    path = ROOT / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if is_clone() and path.is_file() else []
    return {canonical(name): pin for name, found, pin in (line.partition("==") for line in lines) if found}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(name: str) -> str | None:
    """The version of a package; None where it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def setting_lines() -> Iterator[str]:
    """Where the Hub's files are kept, whether it is asked, and the variables of the environment that matter."""
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    switches = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
    offline = [name for name in switches if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")]
    token = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "a file" if (Path(home) / "token").is_file() else "none"
    yield f"HF_HOME: {shown(str(home))}"
    yield f"offline: {', '.join(offline) or 'no'}"
    yield f"token of the Hub: {token}"
    yield "environment:"
    for name, value in sorted(os.environ.items()):
        if SHOWN.fullmatch(name):
            yield f"  {name}={shown(value)}"
        elif NAMED.fullmatch(name):
            yield f"  {name} is set"


def shown(value: str) -> str:
    """A value on one line, with `~` for the home folder; a value that holds a password or a token is not shown."""
    if SECRET.search(value):
        return "(not shown)"
    home = str(Path.home())
    return re.sub(rf"(^|:){re.escape(home)}(?=/|:|$)", r"\1~", " ".join(value.split())) if home != "/" else value


def output_of(*words: str) -> str:
    """What a program prints; empty where it is missing or fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
