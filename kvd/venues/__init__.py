"""One exchange a file: what to subscribe to, how to answer, how to read its frames. No socket lives here."""
