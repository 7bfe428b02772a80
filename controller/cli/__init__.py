"""The command line: click, and nothing else that has it."""
