"""One line of bytes to a record or a reject: a reference parser and a compiled scanner for the ordinary line."""
