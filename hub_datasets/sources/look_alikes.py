"""Recognizes the folders of SLAKE, PAD-UFES-20 and the knees, which have readers and flags of their own."""

from __future__ import annotations

import posixpath
import re

from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.sources.known_sets.csv_files import header_of
from hub_datasets.sources.known_sets.json_files import head_of

SLAKE_FILE = re.compile(r"(train|validate|validation|test)\.json", re.I)
SLAKE_KEYS = tuple(f'"{key}"'.encode() for key in ("img_id", "img_name", "q_lang", "qid", "base_type"))
PAD_COLUMNS = {"patient_id", "lesion_id", "diagnostic", "img_id", "region"}
MENDELEY = re.compile(r"(?:\A|/)Medical ?Expert[- ]?I{1,2}/[0-4](Normal|Doubtful|Mild|Moderate|Severe)/", re.I)
OAI = re.compile(r"(?:\A|/)(train|val|test|auto_test)/[0-4]/[0-9]{7}(?:[LR]|_[0-9])\.png\Z")
MENDELEY_ZIP = re.compile(r"\.zip(?=/)", re.I)  # a zip file counts as a folder
OTHERS = "--reports_dir or --images_dir"


def flag_of(folder: Folder) -> str:
    """Returns the flag that reads a folder of one of the three datasets; empty for any other folder."""
    for file in folder.files():
        base = posixpath.basename(file.name)
        if MENDELEY.search(MENDELEY_ZIP.sub("", file.name)) or OAI.search(file.name):
            return "--knee_dir"
        if base.lower() == "metadata.csv" and set(header_of(head_of(folder, file.name))[0]) >= PAD_COLUMNS:
            return "--pad_ufes_dir"
        if SLAKE_FILE.fullmatch(base):
            head = head_of(folder, file.name)
            if all(key in head for key in SLAKE_KEYS):
                return "--slake_dir"
    return ""


def advice(folder: Folder, own: str) -> str:
    """Returns which flag reads a folder that the flag `own` does not, for the end of a message."""
    flag = flag_of(folder)
    return f"; this is a folder for {flag}" if flag not in ("", own) else f"; other layouts are read by {OTHERS}"
