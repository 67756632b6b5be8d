"""The files of a result, written and read."""
