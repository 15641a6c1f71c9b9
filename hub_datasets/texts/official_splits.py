"""Recognizes the names by which tables and folders call the splits of a dataset, in English and Chinese.

The columns that hold them are named in SPLIT_COLUMNS: they and the names are compared by their letters and digits only,
without case, as those of `patient_ids.py`. A fold of a cross-validation (`0`, `fold_3`) is not a split.
"""

from __future__ import annotations

import re

from hub_datasets.texts.patient_ids import fold, places

SPLIT_COLUMNS = places(
    "split official_split data_split dataset_split split_name subset partition fold "
    "划分 数据划分 数据集划分 拆分 分割 子集 集合 数据集"
)
NAMES = {
    "train": "train training trainset training_set train_set tr trn 训练 训练集 训练数据 训练组 訓練集",
    "validation": "validation valid val validate dev devel development validationset validation_set val_set valid_set "
    "valset dev_set 验证 验证集 验证数据 验证组 开发集 校验集 驗證集 開發集",
    "test": "test testing testset test_set ts tst eval evaluation held_out hold_out 测试 测试集 "
    "测试数据 测试组 留出集 測試集",
}
BY_NAME = {name: split for split, names in NAMES.items() for name in places(names)}
ADVICE = (
    "leave it out, or use --split_by group; of reports, the column `split` of a table and folders called train, "
    "validation and test are read as official splits"
)
YEAR = re.compile(r"(?:19|20)[0-9]{2}")  # of the edition: train2017


def official_split(value: object) -> str | None:
    """Returns `train`, `validation` or `test` for the name of a split; None for anything else.

    Args:
        value: a cell, or the name of a folder.
    """
    if not isinstance(value, str):
        return None
    name = fold(value)
    return BY_NAME.get(name) or BY_NAME.get(YEAR.sub("", name))


def split_of_path(path: str) -> str:
    """Returns the split that the first of a path's folders names, below at most two others; empty if there is none.

    Args:
        path: `train/im0.png`, or `data/train/Lung/im0.png`; separated by `/`.
    """
    return next((split for name in path.split("/")[:-1][:3] if (split := official_split(name))), "")
