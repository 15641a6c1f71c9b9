"""What a bug report needs, and nothing that must not be in one."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version as installed_version

import pytest

from model_cards.commands import environment_report
from model_cards.commands.environment_report import main, requirements, shown, version
from tests.conftest import ROOT

SECRETS = {
    "HF_TOKEN": "hf_SECRETsecret",
    "AWS_SECRET_ACCESS_KEY": "SECRET1",
    "WANDB_API_KEY": "SECRET2",
    "HTTPS_PROXY": "http://me:SECRET3@proxy:3128",
    "HF_HOME": "s3://me:SECRET4@bucket/home",
    "PYTHONPATH": "/somewhere/hf_SECRET5",
    "MY_PASSWORD": "SECRET6",
}


@pytest.fixture(scope="module")
def report(run, tmp_path_factory) -> str:
    """As a user sees it, in a folder of no project."""
    harmless = {"OMP_NUM_THREADS": "3", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "0"}
    folder = tmp_path_factory.mktemp("elsewhere")
    return run("python", ROOT / "medpairs.py", "env", cwd=folder, env=SECRETS | harmless).stdout


def test_it_names_versions_machine_and_packages(report):
    import torch

    assert report.startswith(f"medpairs: {version()}") and report.splitlines()[0].endswith(f", in {ROOT}")
    assert f"\nPython: {platform.python_version()} (CPython), " in report
    for line in ("system: ", "processor: ", "memory: ", "CUDA: ", "GPU", "packages:\n", "environment:\n"):
        assert f"\n{line}" in report
    assert f"\ntorch computes with: {torch.backends.cpu.get_cpu_capability()} on " in report
    assert re.search(rf"^  torch {re.escape(installed_version('torch'))}$", report, re.MULTILINE)
    assert {"datasets", "transformers", "pydicom", "argcomplete", "uvicorn"} <= set(requirements())
    assert [name for name in requirements() if not re.search(rf"^  {name} \S", report, re.MULTILINE)] == []


def test_it_says_whether_the_hub_is_asked_and_with_a_token(report):
    assert "\noffline: HF_HUB_OFFLINE\n" in report and "\ntoken of the Hub: HF_TOKEN\n" in report


def test_variables_are_shown_only_where_their_values_are_harmless(report):
    assert "\n  OMP_NUM_THREADS=3\n" in report and "\n  HF_HUB_OFFLINE=1\n" in report
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "HTTPS_PROXY"):
        assert f"\n  {name} is set\n" in report
    assert "\n  HF_HOME=(not shown)\n" in report and "MY_PASSWORD" not in report


def test_no_secret_is_in_it(report):
    assert "SECRET" not in report.replace("AWS_SECRET_ACCESS_KEY", "")


def test_the_home_folder_is_not_named(monkeypatch):
    monkeypatch.setenv("HOME", "/home/jane")
    assert shown("/home/jane/x:/home/janet/y:/home/jane") == "~/x:/home/janet/y:~"


def test_a_torch_that_cannot_be_imported_is_reported(monkeypatch, capsys):
    """As one that was built for another processor."""
    monkeypatch.setattr(environment_report, "TORCH", "import os; os._exit(132)")
    assert main([]) == 0
    assert "\ntorch: it cannot be imported (exit status 132): no message\n" in capsys.readouterr().out


def test_a_missing_package_and_one_of_another_version_are_named(monkeypatch, capsys):
    pins = environment_report.tested_versions() | {"numpy": "0.1", "six": "0.2"}
    monkeypatch.setattr(environment_report, "tested_versions", lambda: pins)
    monkeypatch.setattr(environment_report, "requirements", lambda: ["numpy", "no-such-package"])
    lines = list(environment_report.package_lines())
    assert lines[1] == f"  numpy {installed_version('numpy')} (tested with 0.1)"
    assert lines[2] == "  no-such-package missing" and "six" in lines[3]
