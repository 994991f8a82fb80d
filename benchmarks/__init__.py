"""`make bench`: how fast the pipeline is, every figure beside its reference from the same run.

Start reading in `__main__` (what can be asked for), `suite` (what runs when) and `rows` (what the report
compares, and the targets). One file measures one thing; `world` is what they all work on.
"""
