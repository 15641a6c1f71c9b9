"""BLEU for English and Chinese medical text. This folder is a complete Space."""
