"""Lists the words of the rule `clinical`: synonyms, units of measurement, and answers that mean yes or no.

A line of the synonyms names one thing, first the name that stands for all. Only what no clinician would tell apart is
on one line: singular and plural of organs, British and American spelling, abbreviations, and both languages. A nodule
and nodules are two findings, and so are a mass and a tumor.
"""

from __future__ import annotations

SYNONYMS = """
    ct | computed tomography | computerized tomography | ct scan | ct image | cat scan | 计算机断层扫描 | ct扫描
    mri | mr | magnetic resonance imaging | magnetic resonance | mri scan | 磁共振 | 核磁共振 | 核磁 | 磁共振成像
    x ray | xray | radiograph | plain film | x ray image | x光 | x线 | x射线 | x光片 | x线片 | x线平片
    ultrasound | ultrasonography | sonography | 超声 | 超声波 | b超 | 超声检查
    pet | positron emission tomography
    t1 | t1 weighted | t1w | t1wi | t1加权 | t1加权像 | t1加权成像
    t2 | t2 weighted | t2w | t2wi | t2加权 | t2加权像 | t2加权成像
    transverse plane | transverse | axial plane | axial | 横断面 | 横断位 | 横切面 | 轴位 | 轴状面 | 横轴面
    coronal plane | coronal | 冠状面 | 冠状位
    sagittal plane | sagittal | 矢状面 | 矢状位
    left | left side | left hand side | 左 | 左侧 | 左边 | 左面
    right | right side | right hand side | 右 | 右侧 | 右边 | 右面
    both sides | bilateral | bilaterally | both | 双侧 | 两侧 | 双边 | 两边
    upper left | left upper | top left | 左上 | 左上方 | 左上侧
    upper right | right upper | top right | 右上 | 右上方 | 右上侧
    lower left | left lower | bottom left | 左下 | 左下方 | 左下侧
    lower right | right lower | bottom right | 右下 | 右下方 | 右下侧
    top | upper part | 上方 | 上部 | 上侧
    bottom | lower part | 下方 | 下部 | 下侧
    center | centre | middle | 中央 | 中间 | 中部 | 中心
    lung | lungs | 肺 | 肺部 | 肺脏
    both lungs | bilateral lungs | 双肺 | 两肺 | 双侧肺 | 双侧肺部
    liver | 肝 | 肝脏
    heart | 心脏 | 心
    spleen | 脾 | 脾脏
    stomach | 胃 | 胃部
    kidney | kidneys | 肾 | 肾脏
    brain | 脑 | 大脑 | 脑部
    pancreas | 胰 | 胰腺 | 胰脏
    gallbladder | gall bladder | 胆囊
    bladder | urinary bladder | 膀胱
    colon | 结肠
    rectum | 直肠
    small bowel | small intestine | small intestines | 小肠
    large bowel | large intestine | large intestines | 大肠
    esophagus | oesophagus | 食管 | 食道
    trachea | windpipe | 气管
    spinal cord | 脊髓
    mandible | lower jaw | jawbone | 下颌骨
    femoral head | femoral heads | 股骨头
    eye | eyes | 眼 | 眼睛
    chest | thorax | thoracic cavity | chest cavity | 胸 | 胸部 | 胸腔
    abdomen | belly | abdominal cavity | 腹 | 腹部 | 腹腔
    pelvis | pelvic cavity | 盆腔
    head | 头 | 头部
    neck | 颈 | 颈部 | 脖子
    black | 黑 | 黑色
    white | 白 | 白色
    gray | grey | 灰 | 灰色
    hyperdense | hyperdensity | high density | 高密度
    hypodense | hypodensity | low density | 低密度
    hyperintense | hyperintensity | high signal | 高信号
    hypointense | hypointensity | low signal | 低信号
    round | circular | circle | 圆 | 圆形
    oval | elliptical | ellipse | 椭圆 | 椭圆形
    irregular | 不规则 | 不规则形
    normal | 正常
    abnormal | not normal | 不正常 | 异常
    cardiomegaly | enlarged heart | enlargement of heart | 心脏肥大 | 心脏增大 | 心影增大
    pneumothorax | 气胸
    pleural effusion | 胸腔积液 | 胸水
    pneumonia | 肺炎
    atelectasis | 肺不张
    lung cancer | cancer of lung | 肺癌
    liver cancer | cancer of liver | 肝癌
    brain tumor | brain tumour | tumor of brain | 脑肿瘤 | 脑瘤
    tumor | tumour | 肿瘤
    edema | oedema | 水肿
    brain edema | brain oedema | cerebral edema | cerebral oedema | 脑水肿
    hemorrhage | haemorrhage | bleeding | 出血
    anemia | anaemia | 贫血
    fracture | 骨折
    nodule | 结节
    cyst | 囊肿
    calcification | 钙化
"""

# Quantity: factor to the first unit, spellings. A unit that is the first of its line has the factor 1.
UNITS = """
    mm | 1 | mm millimeter millimeters millimetre millimetres 毫米
    mm | 10 | cm centimeter centimeters centimetre centimetres 厘米 公分
    mm | 0.001 | µm μm um micrometer micrometers micrometre micrometres micron microns 微米
    mm2 | 1 | mm2
    mm2 | 100 | cm2
    ml | 0.001 | mm3
    ml | 1 | ml cc cm3 milliliter milliliters millilitre millilitres 毫升
    ml | 1000 | liter liters litre litres 升
    mg | 1 | mg milligram milligrams 毫克
    mg | 1000 | g gram grams 克
    mg | 1000000 | kg kilogram kilograms 千克 公斤
    hu | 1 | hu
    mmhg | 1 | mmhg
    year | 1 | year years yr yrs 岁
    % | 1 | % percent pct
"""

YES = frozenset("yes yeah yep true 是 是的 对 对的 有 有的 包含 存在 可以 能 会".split())  # noqa: SIM905
NO = frozenset("no nope false 否 不 不是 不是的 不对 没有 没 无 不包含 不存在 不可以 不能 不会".split())  # noqa: SIM905
