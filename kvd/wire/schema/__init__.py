"""The public messages as described types, and the documents made of them."""
