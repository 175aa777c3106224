"""Solutions, their history, certificates, and how they are stored."""
