"""Fine-tunes a SigLIP encoder on image-text pairs with the sigmoid loss."""
