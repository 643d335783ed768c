"""One task a file, called TASK; a new file is a new row."""
