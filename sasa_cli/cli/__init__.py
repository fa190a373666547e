"""The command line: `app` parses, calls and prints. Imports nothing heavy before it is needed."""
