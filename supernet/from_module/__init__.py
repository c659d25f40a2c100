"""A family made from any torch module: its graph is read, widths that must agree are grouped, a file is written."""
