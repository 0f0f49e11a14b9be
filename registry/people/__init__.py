"""Who is the same person: identifiers, merges and how they are undone."""
