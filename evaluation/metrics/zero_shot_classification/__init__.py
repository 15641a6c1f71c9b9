"""Zero-shot classification by ensembles of prompts. This folder is a complete Space."""
