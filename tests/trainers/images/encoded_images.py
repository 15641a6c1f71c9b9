"""Provides images of every kind that a published dataset may contain, as files and rows, and the stock pixels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from trainers.images.encoder_pixels import PixelReader

READER = PixelReader(64, 48, Image.Resampling.BICUBIC)


def picture(seed: int = 0, width: int = 130, height: int = 90) -> Image.Image:
    """Soft shapes under noise, another one for each seed."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8)).resize((width, height), 3)
    return Image.fromarray((np.asarray(small) * 0.9 + random.integers(0, 25, (height, width, 3))).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def turned() -> bytes:
    """A JPEG file whose EXIF says that it has to be turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(9), "JPEG", exif=exif)


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


KINDS = {
    "JPEG": encoded(picture(1), "JPEG"),
    "gray JPEG": encoded(picture(2).convert("L"), "JPEG"),
    "CMYK JPEG": encoded(picture(3).convert("CMYK"), "JPEG"),
    "JPEG with EXIF orientation": turned(),
    "PNG": encoded(picture(4)),
    "gray PNG": encoded(picture(5).convert("L")),
    "gray PNG with alpha": encoded(picture(5).convert("LA")),
    "RGBA PNG": encoded(with_alpha(picture(6))),
    "palette PNG": encoded(picture(7).quantize(64)),
    "palette PNG with transparency": encoded(picture(7).quantize(64), transparency=3),
    "PNG of 1 bit": encoded(picture(8).convert("1")),
    "one pixel": encoded(picture(10, 1, 1)),
    "of the size wanted": encoded(picture(11, READER.width, READER.height)),
}


def dataset(images: list[bytes], texts: list[str] | None = None, sources: list[str] | None = None):
    """Rows with the columns `image`, `image_path`, `text` and `source_dataset`."""
    import datasets

    texts = texts or [f"text {number}" for number in range(len(images))]
    features = {"image": datasets.Image()} | dict.fromkeys(
        ("image_path", "text", "source_dataset"), datasets.Value("string")
    )
    columns = {
        "image": [{"bytes": data, "path": None} for data in images],
        "image_path": [f"images/{number}.png" for number in range(len(images))],
        "text": texts,
        "source_dataset": sources or ["one"] * len(images),
    }
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def stock(rows, **settings) -> np.ndarray:
    """`[N, 3, H, W]`: what SiglipImageProcessorPil makes of the rows as `datasets` decodes them."""
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    processor = SiglipImageProcessorPil(size={"height": READER.height, "width": READER.width}, **settings)
    images = [image.convert("RGB") for image in rows["image"]]
    return processor(images=images, return_tensors="np")["pixel_values"]
