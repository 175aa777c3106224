"""The command line: the application, its commands and their printing."""
