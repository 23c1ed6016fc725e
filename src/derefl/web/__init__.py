"""The web page of ``derefl demo``: two tabs over the library. Needs the extra ``demo``."""
