"""What a study found, written down: tables, figures, verdicts, comparisons."""
