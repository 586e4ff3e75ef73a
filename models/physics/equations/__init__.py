"""The equations shipped, one ``EQUATION`` a file, found by the file's name."""
