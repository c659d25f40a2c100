"""Files people run: extract, calibrate, write, reload, compare, measure."""
