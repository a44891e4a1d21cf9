"""Where frames come from: a live socket, a recorded tape, or a synthetic exchange."""
