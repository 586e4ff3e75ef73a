"""The command line, one file per command; nothing heavy is loaded before it is needed."""
