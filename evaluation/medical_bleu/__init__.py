"""BLEU for English and Chinese medical text: a metric that is complete as a Space of its own."""
