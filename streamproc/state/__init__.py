"""The state of all symbols as flat arrays: their layout, the rings of pages in them, their snapshot."""
