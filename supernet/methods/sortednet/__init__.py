"""SortedNet: nested sub-models without a teacher."""
