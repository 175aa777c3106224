"""What a study found, gathered from its store: tables, claims and verdicts."""
