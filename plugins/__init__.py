"""Plug-ins: what is found, built in or in packages that somebody installed, and how options are declared.

kinds.py     the kinds of plug-ins that there are
registry.py  what is there of a kind, without importing it
entries.py   what installed packages offer through entry points
options.py   the base of every declaration of options
"""
