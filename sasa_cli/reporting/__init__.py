"""From finished runs to tables, figures and one page; reads files only and imports no torch.

`report` is the way in: `build_report` and `check_report`. Nothing is imported here, so that `formats` alone stays
light.
"""
