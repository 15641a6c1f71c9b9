"""Lists the names by which the columns of tables are recognized, in English and Chinese, the preferred ones first."""

from __future__ import annotations

from hub_datasets.sources.reports.language_words import NAMES
from hub_datasets.texts.patient_ids import places

IMAGE = places(
    "images image image_path image_paths file_name filename path file paths files file_names filenames file_path "
    "filepath file_paths image_file image_files image_filename image_file_name image_name image_names img imgs "
    "img_path img_paths img_file img_name img_filename picture picture_path pictures photo photo_path scan scan_path "
    "dicom dicom_path dicom_file dcm dcm_path jpg_path png_path jpeg png jpg xray xray_path image_location "
    "relative_path rel_path full_path figure figure_path "
    "图像 图片 影像 图像路径 图片路径 影像路径 图像文件 图片文件 影像文件 图像文件名 图片文件名 影像文件名 文件名 "
    "文件 文件路径 路径 图像名称 图片名称 影像名称 图像名 图片名 影像名 照片 圖像 圖片 檔名 文件名称 "
    "image_id image_ids img_id imgid dicom_id image_no image_number image_index image_key "
    "图像ID 图片ID 影像ID 图像编号 图片编号 影像编号 图像号 图片号"
)
TEXT = places(
    "text report caption reports report_text text_report full_report full_text report_content radiology_report "
    "report_body captions description image_description image_caption narrative content transcript transcription "
    "sentence sentences body clinical_report diagnostic_report reporttext note_text "
    "报告 文本 报告内容 报告文本 报告正文 检查报告 诊断报告 影像报告 影像学报告 放射报告 描述 图像描述 图片描述 "
    "影像报告内容 文字 说明 內容 報告 正文"
)
FINDINGS = places(
    "findings finding report_findings radiology_findings imaging_findings image_findings befund hallazgos achados "
    "影像所见 检查所见 所见 影像表现 影像学表现 影像学所见 影像描述 影像学描述 检查描述 检查表现 放射所见 CT所见 "
    "MRI所见 MR所见 X线所见 超声所见 镜下所见 报告描述 影像所見 檢查所見 征象 影像征象"
)
IMPRESSION = places(
    "impression impressions conclusion conclusions report_impression overall_impression final_impression "
    "radiology_impression summary_impression opinion diagnosis diagnoses beurteilung "
    "conclusión conclusão impresión impressão "
    "影像诊断 诊断意见 诊断印象 印象 影像印象 结论 影像结论 影像学诊断 影像学结论 诊断结论 检查结论 检查诊断 "
    "诊断提示 影像提示 检查提示 放射诊断 报告结论 报告诊断 意见 诊断 影像診斷 診斷 結論 檢查結論"
)
LANGUAGE = places("language lang q_lang text_language report_language 语言 語言 语种")
# Columns that identify a file by the header of a DICOM file, the most exact first.
DICOM_KEYS = {
    "SOPInstanceUID": places("SOPInstanceUID sop_uid sop_instance instance_uid image_uid dicom_uid image_instance_uid"),
    "SeriesInstanceUID": places("SeriesInstanceUID series_uid"),
    "StudyInstanceUID": places("StudyInstanceUID study_uid"),
    "AccessionNumber": places("AccessionNumber accession accession_no accession_num accession_nr accession_id acc_no "
                              "acc_num acc_number acc 检查流水号 影像流水号 流水号 登记流水号 检查号"),
}  # fmt: skip
# Parts of a column's name that say the language of its texts. Short codes that are words, for example `no`, are not.
LANGUAGE_PARTS = {
    name: code
    for code, names in NAMES.items()
    for name in (code, *names.split())
    if code != "und" and name not in ("no", "it", "is", "id", "in", "hr", "cat", "est", "may", "per", "ind", "kor")
}
ENGLISH_HEADINGS, CHINESE_HEADINGS = ("Findings: ", "Impression: "), ("影像所见：", "影像诊断：")
