"""Everything that a submission, an update or a removal does to the tables."""
