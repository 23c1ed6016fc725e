"""One module for each subcommand of ``derefl``; ``cli.COMMANDS`` lists them."""
