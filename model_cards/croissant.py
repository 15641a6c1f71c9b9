"""Describes a dataset in Croissant 1.1 (mlcommons.org/croissant/1.1) with the fields of its RAI extension.

`croissant.json` lies beside the card and says the same to programs: the files and columns of each config, the licenses,
and in the RAI fields where the data come from, what was done with them, whom they are about, and what they must not be
used for. What the build cannot know is marked as unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model_cards.tables.dataset_tables import bibtex_of, is_too_few, subgroup_rows

VERSION = "http://mlcommons.org/croissant/1.1"
RAI_VERSION = "http://mlcommons.org/croissant/RAI/1.0"
NOT_KNOWN = "Not known to the build."
SPDX = "https://spdx.org/licenses/"
WITH_SPDX = {
    "cc-by-4.0": "CC-BY-4.0", "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0", "cc0-1.0": "CC0-1.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0", "cc-by-nc-nd-4.0": "CC-BY-NC-ND-4.0", "apache-2.0": "Apache-2.0",
    "mit": "MIT",
}  # fmt: skip
# The context of the specification, which readers compare with their own.
CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "arrayShape": "cr:arrayShape", "citeAs": "cr:citeAs",
    "column": "cr:column", "conformsTo": "dct:conformsTo", "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty", "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract", "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet", "format": "cr:format", "includes": "cr:includes", "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "name": {"@container": "@language"}, "parentField": "cr:parentField", "path": "cr:path",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "samplingRate": "cr:samplingRate", "sc": "https://schema.org/",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip


def croissant(title: str, report: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of `croissant.json`; the same build gives the same content, so that it has no date.

    Args:
        title: the name of the dataset.
        report: the `report.json` of the build.
        features: `datasets.Features` by config.
    """
    names = ", ".join(report["sources"])
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [VERSION, RAI_VERSION],
        "name": title,
        "description": f"Medical images with texts and conversations in one schema, built from {names}; configs: "
        f"{', '.join(features)}; fingerprint {report['fingerprint']}.",
        "license": licenses(report),
        "inLanguage": sorted({one for columns in report["rows_by"].values() for one in columns.get("language", ())}),
        "keywords": ["medical", "image-text", *dict.fromkeys(source["kind"] for source in report["sources"].values())],
        "url": next((source["homepage"] for source in report["sources"].values() if source["homepage"]), ""),
        "distribution": [file_set(config) for config in features],
        "recordSet": [split_names(report), *class_names(report), *record_sets(features)],
        **rai_fields(report),
    }
    if cited := bibtex_of(report):
        content["citeAs"] = cited
    return {key: value for key, value in content.items() if value not in ("", [])}


def licenses(report: Mapping[str, Any]) -> list[str]:
    """Returns the license of each row: the address of its text in the SPDX list or, for others, its name."""
    found = {name for columns in report["rows_by"].values() for name in columns.get("license", ())}
    return [f"{SPDX}{WITH_SPDX[name.lower()]}.html" if name.lower() in WITH_SPDX else name for name in sorted(found)]


def file_set(config: str) -> dict[str, Any]:
    """Returns the files of a config."""
    return {
        "@type": "cr:FileSet",
        "@id": f"{config}-files",
        "name": f"{config}-files",
        "description": f"Parquet files of the config {config}; the name starts with the split.",
        "encodingFormat": "application/x-parquet",
        "includes": f"{config}/*.parquet",
    }


def split_names(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the splits as records, which fields refer to."""
    names = dict.fromkeys(split for splits in report["splits"].values() for split in splits)
    field = {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"}
    return {
        "@type": "cr:RecordSet", "@id": "splits", "name": "splits", "dataType": "cr:Split",
        "description": "The splits of all configs.", "key": {"@id": "splits/name"}, "field": [field],
        "data": [{"splits/name": name} for name in names],
    }  # fmt: skip


def class_names(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the classes of the column `label` as records: its numbers with their names."""
    if not report["classes"]:
        return
    number = {"@type": "cr:Field", "@id": "classes/number", "name": "number", "dataType": "sc:Integer"}
    name = {"@type": "cr:Field", "@id": "classes/name", "name": "name", "dataType": ["sc:Text", "sc:name"]}
    yield {
        "@type": "cr:RecordSet", "@id": "classes", "name": "classes", "dataType": "sc:Enumeration",
        "description": "The classes of the column label, as source/class.", "key": {"@id": "classes/number"},
        "field": [number, name],
        "data": [{"classes/number": place, "classes/name": label} for place, label in enumerate(report["classes"])],
    }  # fmt: skip


def record_sets(features: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the columns of each config."""
    for config, columns in features.items():
        split = {
            "@type": "cr:Field",
            "@id": f"{config}/split",
            "name": "split",
            "description": "The split, from the name of the file.",
            "dataType": "sc:Text",
            "references": {"field": {"@id": "splits/name"}},
            "source": {
                "fileSet": {"@id": f"{config}-files"},
                "extract": {"fileProperty": "fullpath"},
                # the optional parts, because a reader may apply it to its own result
                "transform": {"regex": f"(?:.*{config}/)?([^-/]+)(?:-.*\\.parquet)?$"},
            },
        }
        fields = [field_of(config, name, feature) for name, feature in columns.items()]
        yield {"@type": "cr:RecordSet", "@id": config, "name": config, "field": [split, *fields]}


def field_of(config: str, column: str, feature: Any) -> dict[str, Any]:
    """Returns the field of a column."""
    field = {"@type": "cr:Field", "@id": f"{config}/{column}", "name": column}
    source = {"fileSet": {"@id": f"{config}-files"}, "extract": {"column": column}}
    shape, inner = [], feature
    while (nested := getattr(inner, "feature", None)) is not None:  # a list
        length = getattr(inner, "length", -1)
        shape.append(str(length))
        inner = nested
    if shape:
        field |= {"isArray": True, "arrayShape": ",".join(shape)}
    if isinstance(inner, Mapping):  # a list of messages: each part of a message is a field of its own
        field["repeated"] = True  # as for images below, so that each message is a record with its parts
        field["subField"] = [
            {
                "@type": "cr:Field",
                "@id": f"{config}/{column}/{key}",
                "name": key,
                "dataType": "sc:Text",
                "source": source | {"transform": {"jsonPath": key}},
            }
            for key, part in inner.items()
            if getattr(part, "feature", None) is None
        ]
        if len(field["subField"]) < len(inner):
            left_out = ", ".join(key for key in inner if getattr(inner[key], "feature", None) is not None)
            field["description"] = (
                f"Croissant has no field for the lists in these parts, which only Parquet has: {left_out}."
            )
        return field
    kind = type(inner).__name__
    if kind == "Image":
        source["transform"] = {"jsonPath": "bytes"}  # of each element of a list
        if shape:  # the word of version 1.0: mlcroissant 1.1.1 reads lists of images by it alone
            field["repeated"] = True
        return field | {"dataType": "sc:ImageObject", "source": source}
    if kind == "ClassLabel":
        # the classes are records of their own if there are any
        refers = {"references": {"field": {"@id": "classes/number"}}} if inner.names else {}
        return field | {"dataType": "sc:Integer", "source": source} | refers
    return field | {"dataType": TYPES[inner.dtype], "source": source}


TYPES = {"string": "sc:Text", "int32": "sc:Integer", "float32": "sc:Float"}


def rai_fields(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of the RAI extension, from the report."""
    sources = report["sources"]
    synthetic = [name for name, source in sources.items() if source["synthetic"]]
    drawn = f" Generated by a program, not collected: {', '.join(synthetic)}." if synthetic else ""
    titles = "; ".join(f"{name}: {source['title']}" for name, source in sources.items())
    rejected = sum(sum(source["rejected"].values()) for source in sources.values())
    read = sum(source["read"] for source in sources.values())
    flags = ", ".join(f"{kind} {number:,}" for kind, number in report["review"]["flags"].items())
    few = [
        f"{source} {kind} {value}"
        for source, kind, value, counts in subgroup_rows(report)
        if any(is_too_few(split, counts.get(split, 0)) for split in report["splits"].get("pairs", ()))
    ]
    unnamed = [name for name, source in sources.items() if not source.get("patients", 1)]
    limits = [
        "Texts repeat the annotations of the sources, which can be wrong.",
        "The sources are not samples of a population: frequencies in the data are not those of diseases.",
    ]
    if unnamed:
        limits.append(f"No patient IDs: images of one patient may be in different splits ({', '.join(unnamed)}).")
    return {
        "rai:dataCollection": f"Taken from existing collections. {titles}.{drawn}",
        "rai:dataCollectionType": ["Secondary Data Analysis", *(["Synthetic Data Generation"] if synthetic else [])],
        "rai:dataCollectionRawData": "The sources' own files; the report of the build names their layout and license.",
        "rai:dataCollectionMissingData": f"{rejected:,} of {read:,} records were rejected, each with its reason: "
        "see report.json.",
        "rai:dataImputationProtocol": "Nothing is imputed: what a source does not say is null or missing.",
        "rai:dataPreprocessingProtocol": [
            "JPEG and PNG images are stored as they are, without the metadata of their files; other formats become "
            "PNG, and images of more than 8 bits are windowed to 8 bits.",
            "Repeated images and contradicting labels are resolved by the rules of each source.",
            "Rows that share a patient, a study, an image or a similar image are in one split."
            if report["leakage"]["split_by"] == "group"
            else "Rows keep the splits of their sources where these have any.",
        ],
        "rai:dataAnnotationProtocol": [NOT_KNOWN + " See the publications of the sources."],
        "rai:dataAnnotationPlatform": [NOT_KNOWN],
        "rai:dataAnnotationAnalysis": [NOT_KNOWN],
        "rai:annotationsPerItem": NOT_KNOWN,
        "rai:annotatorDemographics": [NOT_KNOWN],
        "rai:machineAnnotationTools": [
            "Questions about images with a text come from fixed templates, named in the column template_id."
        ],
        "rai:dataBiases": [
            "Classes and subgroups are not balanced: see report.json (rows_by, subgroups).",
            *([f"Fewer than 30 held-out rows: {'; '.join(few[:20])}" + "; ..." * (len(few) > 20)] if few else []),
        ],
        "rai:dataUseCases": ["Training and evaluation of image-text models in research; not for use in care."],
        "rai:dataLimitations": limits,
        "rai:dataSocialImpact": "Not intended for diagnosis, triage, treatment or any other decision about a person, "
        "nor for the identification of persons.",
        "rai:personalSensitiveInformation": [
            "Health data about persons; the build does not make them anonymous.",
            f"Texts were searched for identifiers: {flags or 'nothing was flagged'}.",
        ],
        "rai:dataReleaseMaintenancePlan": NOT_KNOWN,
    }
