"""The results of a study, gathered from its store: tables, claims and verdicts."""
