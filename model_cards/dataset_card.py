"""The dataset card: what was read, what was accepted, what was not and why, from the build's report."""

from __future__ import annotations

from pathlib import Path

from model_cards.rendering import render_card

TITLE = "Medical image-text pairs and chats"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_dataset_card(folder: Path, report: dict, infos: dict) -> None:
    """Writes `README.md` with the YAML that `load_dataset` and the Hub's viewer read.

    Args:
        folder: holds `{config}/{split}-*.parquet`.
        report: the build's `report.json`.
        infos: `datasets.DatasetInfo` by config; they get the size of their files as what is to be downloaded.
    """
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCard, DatasetCardData

    sources = report["sources"].values()
    synthetic = all(source["synthetic"] for source in sources)
    licences = sorted({source["licence"].lower() for source in sources if not source["synthetic"]})
    data = DatasetCardData(
        pretty_name=TITLE,
        language=sorted(report["rows_by"]["pairs"]["language"]),
        license="apache-2.0" if synthetic else licences[0] if len(licences) == 1 else "other",
        size_categories=[size_category(sum(report["splits"]["chat"].values()))],
        task_categories=["image-text-to-text", "visual-question-answering", "zero-shot-image-classification"],
        tags=["medical", "image-text", "medpairs", *(["synthetic"] if synthetic else [])],
        configs=[config_yaml(config, report, default=config == "pairs") for config in infos],
    )
    for config, info in infos.items():
        info.download_size = sum(path.stat().st_size for path in (folder / config).glob("*.parquet"))
    DatasetInfosDict(infos).to_dataset_card_data(data)
    card = render_card(DatasetCard, data, "dataset_card.md", title=TITLE, report=report, synthetic=synthetic)
    card.save(folder / "README.md")


def config_yaml(config: str, report: dict, default: bool) -> dict:
    """The part of the card's YAML that says which files make up a config.

    `load_dataset` finds the cache of a folder by the folder's last name and this YAML alone, not by the files: without
    the fingerprint it would hand out the rows of an earlier build, or of another folder of the same name.
    """
    files = [{"split": split, "path": f"{config}/{split}-*.parquet"} for split in report["splits"][config]]
    content = {"config_name": config, "data_files": files, "description": f"fingerprint {report['fingerprint']}"}
    return content | ({"default": True} if default else {})


def size_category(rows: int) -> str:
    """The Hub's word for a number of rows."""
    return next((word for limit, word in SIZES if rows < limit), "n>1M")
