"""``python -m minimaxopt.cli``."""

from minimaxopt.cli.app import main

main()
