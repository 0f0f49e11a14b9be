"""From the parameters of a stored query to the objects that answer it."""
