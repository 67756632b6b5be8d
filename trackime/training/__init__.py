"""How the embedded tracker is trained: `python -m trackime.training --help`."""
