"""Provides the questions for images whose records have a text but no question of their own.

No question gives its answer away: it names no organ, side or diagnosis and does not suggest that there is a finding.
"""

# kind: language: (question about one image, question about several images of one examination). `{count}` becomes the
# number of images in words. The place in a list is the number of the template in `template_id`, `radiograph-en-03` for
# the third: datasets with these ids are published, so a list is appended to, and nothing in it is ever changed, moved
# or removed.
TEMPLATES: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "radiograph": {
        "en": (
            ("Describe this radiograph.", "Describe these {count} radiographs."),
            ("What does this X-ray show?", "What do these X-rays show?"),
            ("What do you see on this plain film?", "What do you see on these {count} plain films?"),
            ("Please interpret this radiograph.", "Please interpret these radiographs together."),
            ("How would you read this X-ray?", "How would you read these {count} views?"),
            ("Which findings, if any, does this X-ray show?", "Which findings, if any, do these X-rays show?"),
            ("Summarise what can be seen on this radiograph.", "Summarise what can be seen on these {count} views."),
            ("What is your assessment of this radiograph?", "What is your assessment of these radiographs?"),
            ("Please give your reading of this X-ray image.", "Please give your reading of these X-ray images."),
            ("How would you describe this radiograph to a colleague?",
             "How would you describe these {count} radiographs to a colleague?"),
        ),
        "zh": (
            ("请描述这张X线片。", "请描述这{count}张X线片。"),
            ("这张X线片显示了什么？", "这些X线片显示了什么？"),
            ("从这张平片上能看到什么？", "从这{count}张平片上能看到什么？"),
            ("请解读这张X线片。", "请综合解读这些X线片。"),
            ("您如何判读这张X线影像？", "您如何判读这{count}张X线影像？"),
            ("这张X线片上有哪些影像学表现？", "这些X线片上有哪些影像学表现？"),
            ("请概括这张X线片的所见。", "请概括这{count}张X线片的所见。"),
            ("您对这张X线片的评估是什么？", "您对这些X线片的评估是什么？"),
            ("请写出这张X线影像的读片结果。", "请写出这些X线影像的读片结果。"),
            ("您会如何向同事描述这张X线片？", "您会如何向同事描述这{count}张X线片？"),
        ),
    },
    "skin_lesion": {
        "en": (
            ("Describe this skin lesion.", "Describe this skin lesion, shown in {count} photographs."),
            ("What does this photograph of the skin show?", "What do these photographs of the skin show?"),
            ("What kind of skin lesion is this?", "What kind of skin lesion do these {count} photographs show?"),
            ("Please give a clinical description of this lesion.",
             "Please give a clinical description of the lesion in these photographs."),
            ("How would you characterise the lesion in this image?",
             "How would you characterise the lesion in these {count} images?"),
            ("What can be said about this skin lesion?", "What can be said about the lesion in these photographs?"),
            ("Please summarise the case shown here.", "Please summarise the case shown in these {count} photographs."),
            ("What is your assessment of this skin lesion?",
             "What is your assessment of the skin lesion in these images?"),
            ("Please describe and classify the lesion shown here.",
             "Please describe and classify the lesion shown in these images."),
            ("How would you document this lesion in a patient's record?",
             "How would you document the lesion in these {count} photographs in a patient's record?"),
        ),
        "zh": (
            ("请描述这处皮肤病变。", "请描述这{count}张照片中的皮肤病变。"),
            ("这张皮肤照片显示了什么？", "这些皮肤照片显示了什么？"),
            ("这是哪一类皮肤病变？", "这{count}张照片显示的是哪一类皮肤病变？"),
            ("请对这处病变作临床描述。", "请对这些照片中的病变作临床描述。"),
            ("您如何描述图中病变的特征？", "您如何描述这{count}张图中病变的特征？"),
            ("关于这处皮肤病变，可以说明什么？", "关于这些照片中的皮肤病变，可以说明什么？"),
            ("请概括这张照片所示的病例。", "请概括这{count}张照片所示的病例。"),
            ("您对这处皮肤病变的评估是什么？", "您对这些影像中皮肤病变的评估是什么？"),
            ("请描述图中的病变并说明其类型。", "请描述这些图中的病变并说明其类型。"),
            ("您会如何在病历中记录这处病变？", "您会如何在病历中记录这{count}张照片中的病变？"),
        ),
    },
    "question_answering": {
        "en": (
            ("Describe this medical image.", "Describe these {count} medical images."),
            ("What does this medical image show?", "What do these medical images show?"),
            ("What can be seen in this scan?", "What can be seen in these {count} scans?"),
            ("Please explain the content of this image.", "Please explain the content of these images."),
            ("What kind of image is this, and what is in it?", "What kind of images are these, and what is in them?"),
            ("Give a short description of this medical image.", "Give a short description of these {count} images."),
            ("What would you note when looking at this scan?", "What would you note when looking at these scans?"),
            ("Summarise what this image tells us.", "Summarise what these {count} images tell us."),
            ("Which structures and findings does this image show?",
             "Which structures and findings do these images show?"),
            ("How would you describe this image to a medical student?",
             "How would you describe these {count} images to a medical student?"),
        ),
        "zh": (
            ("请描述这张医学图像。", "请描述这{count}张医学图像。"),
            ("这张医学图像显示了什么？", "这些医学图像显示了什么？"),
            ("从这张扫描图像中能看到什么？", "从这{count}张扫描图像中能看到什么？"),
            ("请说明这张图像的内容。", "请说明这些图像的内容。"),
            ("这是什么类型的图像，其中有什么？", "这些是什么类型的图像，其中有什么？"),
            ("请简要描述这张医学影像。", "请简要描述这{count}张医学影像。"),
            ("观察这张影像时，您会注意到什么？", "观察这些影像时，您会注意到什么？"),
            ("请概括这张图像提供的信息。", "请概括这{count}张图像提供的信息。"),
            ("这张图像显示了哪些结构和表现？", "这些图像显示了哪些结构和表现？"),
            ("您会如何向医学生描述这张图像？", "您会如何向医学生描述这{count}张图像？"),
        ),
    },
    "report": {
        "en": (
            ("Write the report for this image.", "Write the report for these {count} images."),
            ("Please report this examination.", "Please report this examination, shown in {count} images."),
            ("What findings would you report for this image?", "What findings would you report for these images?"),
            ("Please dictate a report of this study.", "Please dictate a report of the study in these {count} views."),
            ("Describe the findings on this image as in a radiology report.",
             "Describe the findings on these images as in a radiology report."),
            ("What would the written report of this image say?",
             "What would the written report of these {count} views say?"),
            ("Read this image and report what you see.", "Read these images together and report what you see."),
            ("Please draft the findings for this examination.",
             "Please draft the findings for the examination in these {count} images."),
            ("How would you report this image to the referring clinician?",
             "How would you report these images to the referring clinician?"),
            ("Provide a report of this imaging study.", "Provide a report of this imaging study of {count} images."),
        ),
        "zh": (
            ("请为这张影像撰写报告。", "请为这{count}张影像撰写报告。"),
            ("请报告这次检查的结果。", "请根据这{count}张影像报告这次检查的结果。"),
            ("您会在报告中写出这张影像的哪些所见？", "您会在报告中写出这些影像的哪些所见？"),
            ("请口述这次检查的报告。", "请根据这{count}张影像口述这次检查的报告。"),
            ("请按影像报告的形式描述这张影像的所见。", "请按影像报告的形式描述这些影像的所见。"),
            ("这张影像的书面报告应如何表述？", "这{count}张影像的书面报告应如何表述？"),
            ("请阅读这张影像并报告您的所见。", "请综合阅读这些影像并报告您的所见。"),
            ("请起草这次检查的影像所见。", "请根据这{count}张影像起草这次检查的影像所见。"),
            ("您会如何向申请检查的医生报告这张影像？", "您会如何向申请检查的医生报告这些影像？"),
            ("请提供这次影像检查的报告。", "请提供这{count}张影像的检查报告。"),
        ),
    },
    "image": {
        "en": (
            ("What does this image show?", "What do these {count} images show?"),
            ("Describe this image.", "Describe these {count} images."),
            ("What can be seen in this image?", "What can be seen in these images?"),
            ("What is shown here?", "What is shown in these {count} images?"),
            ("Please describe what you see in this image.", "Please describe what you see in these images."),
            ("How would you describe this image?", "How would you describe these {count} images?"),
            ("What is your assessment of this image?", "What is your assessment of these images?"),
            ("Summarize what this image shows.", "Summarize what these {count} images show."),
            ("Please write a caption for this image.", "Please write a caption for these {count} images."),
            ("How would you explain this image to a colleague?",
             "How would you explain these {count} images to a colleague?"),
        ),
        "zh": (
            ("这张图像显示了什么？", "这{count}张图像显示了什么？"),
            ("请描述这张图像。", "请描述这{count}张图像。"),
            ("从这张图像中能看到什么？", "从这些图像中能看到什么？"),
            ("这里显示的是什么？", "这{count}张图像显示的是什么？"),
            ("请描述您在这张图像中看到的内容。", "请描述您在这些图像中看到的内容。"),
            ("您会如何描述这张图像？", "您会如何描述这{count}张图像？"),
            ("您对这张图像的评估是什么？", "您对这些图像的评估是什么？"),
            ("请概括这张图像显示的内容。", "请概括这{count}张图像显示的内容。"),
            ("请为这张图像写一段说明。", "请为这{count}张图像写一段说明。"),
            ("您会如何向同事解释这张图像？", "您会如何向同事解释这{count}张图像？"),
        ),
    },
}  # fmt: skip

# A question that tells what the image cannot show. Published rows have these words: they are never changed.
CONTEXT = {"en": "{question}\n\nClinical context: {context}", "zh": "{question}\n\n临床资料：{context}"}

# From two to ten; larger numbers are digits. 两 and not 二, because a measure word follows.
COUNTS = {
    "en": ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    "zh": ("两", "三", "四", "五", "六", "七", "八", "九", "十"),
}
