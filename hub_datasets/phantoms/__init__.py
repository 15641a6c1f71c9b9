"""Drawn stand-ins for medical images: what an image shows goes in, pixels come out.

One file a kind of image (`knee`, `skin`, `chest`, `slices`), over the brushes in `canvas`. Nothing here reads or writes
a file. Every function draws its chance from the generator it is given, so the same generator gives the same pixels.
The pictures carry what the texts of the sample say and are recognisable; they are no anatomy to learn from.
"""
