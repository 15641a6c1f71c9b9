"""Draws synthetic stand-ins for medical images from a description of their content.

There is one module per kind of image (`knee`, `skin`, `chest`, `slices`) and one for drawing primitives (`canvas`). No
module reads or writes files. All randomness comes from the generator that a function is given, so the same generator
gives the same pixels. The images show what the texts of the synthetic sample state, but they are not anatomically
correct.
"""
