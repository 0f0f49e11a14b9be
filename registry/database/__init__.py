"""The one door to the database: tables, statements, engines, and how everything is laid out in them."""
