"""One file or folder per source; names that begin with an underscore are shared parts, not collectors."""
