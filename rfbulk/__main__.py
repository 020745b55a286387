"""`python -m rfbulk`: the same as the command `rfbulk`."""

from rfbulk.cli.main import main

main()
