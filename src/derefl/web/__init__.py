"""The web page of ``derefl demo``; it has two tabs. Needs the extra ``demo``."""
