"""`python -m pipeline.cli` is `segpipe`."""

from pipeline.cli import main

main()
