"""`python -m sasa_cli` is `sasa`."""

from sasa_cli.cli import main

main()
