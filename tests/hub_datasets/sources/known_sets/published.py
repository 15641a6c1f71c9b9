"""Describes folders in the layouts of published datasets and tools: their files, and what becomes of each image."""

from __future__ import annotations

import gzip

from tests.hub_datasets.sources.read_layouts import CLEAR, FLUID, ZH

ASK = "Describe this X-ray."


def llava(image, *turns: str, **more) -> dict:
    """A row of LLaVA's JSON: the turns of a human and of the model in alternation."""
    said = [{"from": ("human", "gpt")[number % 2], "value": turn} for number, turn in enumerate(turns)]
    return {"id": "1", "image": image, "conversations": said, **more}


def messages(*turns: str, system: str = "") -> list[dict]:
    said = [{"role": ("user", "assistant")[number % 2], "content": turn} for number, turn in enumerate(turns)]
    return [{"role": "system", "content": system}, *said] if system else said


def vqa_rad(number: int, image: str, question: str, answer, phrase: str) -> dict:
    """A row of `VQA_RAD Dataset Public.json`, with its own keys."""
    return {
        "qid": number, "phrase_type": phrase, "qid_linked_id": f"03f{number}", "image_case_url": "https://medpix/1",
        "image_name": image, "image_organ": "CHEST", "evaluation": "evaluated", "question": question,
        "question_rephrase": "NULL", "question_relation": "NULL", "question_frame": "NULL", "question_type": "PRES",
        "answer": answer, "answer_type": "CLOSED",
    }  # fmt: skip


MIMIC = "files/p10/p10000032"
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with new onset ascites  // eval for infection

 FINDINGS:

 There is no focal consolidation,
 pleural effusion or pneumothorax.

 IMPRESSION:

 No acute process.
"""
SECTIONS = "Findings: There is no focal consolidation, pleural effusion or pneumothorax. Impression: No acute process."
HAM = "lesion_id,image_id,dx,dx_type,age,sex,localization\n"

# name: (files, what becomes of each image), as `outcomes` of read_layouts.py says it
LAYOUTS = {
    "r2gen": (
        {"annotation.json": {"train": [{"id": "CXR0", "report": CLEAR, "image_path": ["CXR0/0.png", "CXR0/1.png"]}],
                             "val": [{"id": "CXR1", "report": FLUID, "image_path": ["CXR1/0.png"]}]},
         "images/CXR0/0.png": "a", "images/CXR0/1.png": "b", "images/CXR1/0.png": "c"},
        [("a", "train", CLEAR), ("b", "train", CLEAR), ("c", "validation", FLUID)]),
    "r2gen without splits": (
        {"a.json": [{"id": 1, "report": CLEAR, "image_path": ["x/0.png", "x/1.png"]}], "x/0.png": "a", "x/1.png": "b"},
        [("a", "", CLEAR), ("b", "", CLEAR)]),
    "a text beside each image": (
        {"1.png": "a", "1.txt": CLEAR, "2.jpg": "b", "2.txt": ZH}, [("a", "", CLEAR), ("b", "", ZH)]),
    "texts beside images in folders of splits": (
        {"train/1.png": "a", "train/1.txt": CLEAR, "val/1.png": "b", "val/1.txt": FLUID},
        [("a", "train", CLEAR), ("b", "validation", FLUID)]),
    "a report in each folder": (
        {"s1/a.png": "a", "s1/b.png": "b", "s1/report.txt": CLEAR, "s2/a.png": "c", "s2/notes.txt": FLUID},
        [("a", "", CLEAR), ("b", "", CLEAR), ("c", "", FLUID)]),
    "a text of any name in each folder": (
        {"s1/a.png": "a", "s1/anna.txt": CLEAR, "s2/a.png": "b", "s2/bert.txt": FLUID},
        [("a", "", CLEAR), ("b", "", FLUID)]),
    "a text beside a folder": ({"s1.txt": CLEAR, "s1/a.png": "a", "s1/b.png": "b"},
                               [("a", "", CLEAR), ("b", "", CLEAR)]),
    "boxes of YOLO": ({"1.png": "a", "1.txt": "0 0.51 0.48 0.2 0.3\n1 0.1 0.2 0.1 0.1", "2.png": "b", "2.txt": CLEAR},
                      ["malformed_row", ("b", "", CLEAR)]),
    "mimic-cxr": (
        {f"{MIMIC}/s50414267.txt": REPORT, f"{MIMIC}/s50414267/02aa-bb.png": "a", f"{MIMIC}/s50414267/174c-dd.png": "b",
         f"{MIMIC}/s53189527.txt": CLEAR, f"{MIMIC}/s53189527/2a2a.png": "c",
         "mimic-cxr-2.0.0-split.csv": "dicom_id,study_id,subject_id,split\n02aa-bb,50414267,10000032,train\n"
                                      "174c-dd,50414267,10000032,validate\n2a2a,53189527,10000032,test\n"},
        [("a", "train", SECTIONS), ("b", "validation", SECTIONS), ("c", "test", CLEAR)]),
    "mimic-cxr, splits packed, a study without images": (
        {f"{MIMIC}/s50414267.txt": REPORT, f"{MIMIC}/s50414267/02aa.png": "a", f"{MIMIC}/s59999999.txt": CLEAR,
         "mimic-cxr-2.0.0-split.csv.gz": gzip.compress(
             b"dicom_id,study_id,subject_id,split\n02aa,1,1,test\n", mtime=0)},
        [("a", "test", SECTIONS), "image_missing"]),
    "roco": (
        {"data/train/radiology/captions.txt": f"ROCO_00002\t {CLEAR}\nROCO_00003\t {FLUID}\nROCO_9 no tab\n",
         "data/train/radiology/keywords.txt": "ROCO_00002\tlung\n", "data/train/radiology/images/ROCO_00002.jpg": "a",
         "data/train/radiology/images/ROCO_00003.jpg": "b",
         "data/train/radiology/traindata.csv": f"id,name,caption\nROCO_00002,x.jpg,{CLEAR}\n"},
        [("a", "train", CLEAR), ("b", "train", FLUID), "malformed_row"]),
    "roco, its csv alone": (
        {"radiologytraindata.csv": f"id,name,caption\nROCO_1,PMC1_1.jpg,{CLEAR}\n", "train/PMC1_1.jpg": "a"},
        [("a", "train", CLEAR)]),
    "rocov2": (
        {"train_captions.csv": f"ID,Caption\nROCOv2_2023_train_000001,{CLEAR}\n",
         "train/ROCOv2_2023_train_000001.jpg": "a"},
        [("a", "train", CLEAR)]),
    "vqa-rad": (
        {"VQA_RAD Dataset Public.json": [
            vqa_rad(1, "synpic1.jpg", "Is there an effusion?", "Yes", "freeform"),
            vqa_rad(2, "synpic1.jpg", "How many masses are there?", 3, "test_para"),
            vqa_rad(3, "gone.jpg", "Is it a CT?", "no", "para")],
         "VQA_RAD Image Folder/synpic1.jpg": "a"},
        [("a", "train", ("Is there an effusion?", "Yes")), ("a", "test", ("How many masses are there?", "3")),
         ("image_missing", "train", ("Is it a CT?", "no"))]),
    "pathvqa as json": (
        {"train.json": [{"image": "train_0001", "question": "what are positively charged?", "answer": "histones"}],
         "images/train/train_0001.jpg": "a"},
        [("a", "train", ("what are positively charged?", "histones"))]),
    "questions in csv": (
        {"test.csv": "Figure_path,Question,Answer\nPMC1.jpg,What is shown?,A lung\nPMC1.jpg,Which side?,Left\n",
         "figures/PMC1.jpg": "b"},
        [("b", "test", ("What is shown?", "A lung")), ("b", "test", ("Which side?", "Left"))]),
    "llava": (
        {"llava.json": [llava("x/1.jpg", f"{ASK}\n<image>", CLEAR, "Is there an effusion?", "No."),
                        llava("x/2.jpg", "<image>\nWhich side?", "Left")],
         "images/x/1.jpg": "a", "images/x/2.jpg": "b"},
        [("a", "", (ASK, CLEAR)), ("a", "", ("Is there an effusion?", "No.")), ("b", "", ("Which side?", "Left"))]),
    "llava as jsonl with a broken line": (
        {"train.jsonl": '{"image": "1.png", "conversations": [{"from": "human", "value": "<image>Which side?"}, '
                        '{"from": "gpt", "value": "Left"}]}\n{"image": \n', "1.png": "a"},
        [("a", "train", ("Which side?", "Left")), "malformed_row"]),
    "llama-factory": (
        {"train.json": [{"messages": messages(f"<image>{ASK}", CLEAR), "images": ["images/1.png"]}],
         "dataset_info.json": {"mine": {"file_name": "train.json", "formatting": "sharegpt"}}, "images/1.png": "a"},
        [("a", "train", (ASK, CLEAR))]),
    "llama-factory, two images of a study": (
        {"d.json": [{"messages": messages(f"<image><image>{ASK}", CLEAR, "And now?", "The same."),
                     "images": ["1.png", "2.png"]}], "1.png": "a", "2.png": "b"},
        [("a", "", (ASK, CLEAR)), ("b", "", (ASK, CLEAR)), "malformed_row"]),
    "alpaca with images": (
        {"d.json": [{"instruction": "请描述这张影像。", "input": "", "output": ZH, "images": ["1.png"]}], "1.png": "a"},
        [("a", "", ("请描述这张影像。", ZH))]),
    "openai's parts with the image in them": (
        {"d.json": [{"messages": [
            {"role": "user", "content": [{"type": "image", "image": "i/1.png"},
                                         {"type": "text", "text": "Which side?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Left"}]}]}],
         "i/1.png": "a"},
        [("a", "", ("Which side?", "Left"))]),
    "paths of another computer": (
        {"d.json": [llava("/home/anna/study/x/1.png", "Which side?", "Left"),
                    llava("C:\\data\\y\\1.PNG", "Which side?", "Right"),
                    llava("1.png", "Which side?", "Both")], "x/1.png": "a", "y/1.png": "b"},
        [("a", "", ("Which side?", "Left")), ("b", "", ("Which side?", "Right")), "malformed_row"]),
    "paths that lead outside": (
        {"d.json": [llava("../../etc/passwd", "Which side?", "Left"), llava("https://x.org/1.png", "Which?", "Left"),
                    llava("data:image/png;base64,AAAA", "Which?", "Left")], "1.png": "a"},
        [("image_outside_root", "", ("Which side?", "Left")), "image_missing", "image_missing"]),
    "conversations that are none": (
        {"d.json": [llava("1.png", "Which side?"), llava("1.png"), {"image": "1.png", "conversations": "x"},
                    {"image": "1.png", "conversations": [{"from": "tool", "value": "x"}]}, ["no row"],
                    {"image": ["1.png", 3], "conversations": messages("Which side?", "Left")},
                    llava("1.png", "Which side?", "Left")], "1.png": "a"},
        ["malformed_row"] * 6 + [("a", "", ("Which side?", "Left"))]),
    "webdataset, unpacked": (
        {"shard-000.tar/0.png": "a", "shard-000.tar/0.txt": CLEAR, "shard-000.tar/0.json": {"caption": "another text"},
         "shard-000.tar/1.png": "b", "shard-000.tar/1.json": {"caption": FLUID, "key": "1"},
         "shard-000.tar/1.cls": "3"},
        [("a", "", CLEAR), ("b", "", FLUID)]),
}  # fmt: skip
LABELS = {
    "classes of webdataset": (
        {"0.tar/0.png": "a", "0.tar/0.cls": "pneumonia", "0.tar/1.png": "b", "0.tar/1.cls": "7"},
        [("a", "", "Image of: pneumonia."), "malformed_row"]),
    "ham10000": (
        {"HAM10000_metadata.csv": HAM + "HAM_1,ISIC_1,mel,histo,80.0,male,back\nHAM_2,ISIC_2,nv,follow_up,,,unknown\n"
                                        "HAM_3,ISIC_2,unk,consensus,1,female,face\n",
         "HAM10000_images_part_1/ISIC_1.jpg": "a", "HAM10000_images_part_2/ISIC_2.jpg": "b"},
        [("a", "", "Dermatoscopic image of: melanoma, site: back."),
         ("b", "", "Dermatoscopic image of: melanocytic nevus."), "malformed_row"]),
    "isic 2019": (
        {"ISIC_2019_Training_GroundTruth.csv": "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n"
                                               "ISIC_1,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n"
                                               "ISIC_2,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n", "ISIC_1.jpg": "a"},
        [("a", "", "Dermatoscopic image of: melanocytic nevus."), "malformed_row"]),
    "isic 2020": (
        {"train.csv": "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,"
                      "target\nISIC_1,IP_1,male,45,torso,unknown,benign,0\n", "train/ISIC_1.jpg": "a"},
        [("a", "train", "Dermatoscopic image of: benign, site: torso.")]),
    "isic archive": (
        {"metadata.csv": "isic_id,attribution,diagnosis_1,diagnosis_2,diagnosis_3,anatom_site_general\n"
                         "ISIC_1,X,Benign,Benign melanocytic proliferations,Nevus,\n", "ISIC_1.jpg": "a"},
        [("a", "", "Dermatoscopic image of: nevus.")]),
    "a table of labels": (
        {"labels.csv": "file_name,label\n1.png,Bacterial_Pneumonia\n2.png,3\n", "1.png": "a", "2.png": "b"},
        [("a", "", "Image of: bacterial pneumonia."), "malformed_row"]),
    "labels of chestx-ray14": (
        {"Data_Entry_2017.csv": "Image Index,Finding Labels,Patient ID\n1.png,Effusion|Mass,7\n2.png,No Finding,8\n",
         "images_001/images/1.png": "a", "images_002/images/2.png": "b"},
        [("a", "", "Image of: effusion, mass."), ("b", "", "Image of: no finding.")]),
    "labels in chinese": (
        {"标签.csv": "图像;类别\n1.png;肺炎\n", "1.png": "a"}, [("a", "", "图像：肺炎。")]),
}  # fmt: skip
