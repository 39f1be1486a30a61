"""The engine between files on one machine: where bytes come from, and what a commit is there."""
