"""The SQL reports that come with the program, as files to be read."""
