"""Models and their losses: the SigLIP encoder, whose code is uploaded with its weights, and the Mllama patches."""
