"""Defines SigLIP for medical image-text pairs: the configuration, the model with its loss, and the processor."""
