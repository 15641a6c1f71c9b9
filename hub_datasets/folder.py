"""A source's folder, wherever it lies: on this machine, behind an fsspec address, with zip files left unpacked.

Names are paths below the folder with `/` between their parts. A zip file is a folder of its own name:
`images/imgs_part_1.zip/imgs_part_1/PAT_1.png`. Nothing outside the folder can be read through it.
"""
