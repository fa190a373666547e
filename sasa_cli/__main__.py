"""`python -m sasa_cli` is `sasa`."""

from sasa_cli.cli.app import main

main()
