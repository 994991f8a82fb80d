"""`python -m engarde_pipeline.cli ...`, the same as `engarde ...`."""

from engarde_pipeline.cli import main

main()
