"""SigLIP for medical pairs: the configuration, the model with its contrastive loss, and the processor."""
