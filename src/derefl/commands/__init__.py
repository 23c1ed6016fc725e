"""One module for each subcommand of ``derefl``."""
