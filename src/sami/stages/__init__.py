"""One command for each workflow rule: `python -m sami.stages.NAME --help`."""
