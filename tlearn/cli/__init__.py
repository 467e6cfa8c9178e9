"""The command line: thin, over runs."""
