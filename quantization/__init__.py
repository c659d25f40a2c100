"""Smaller numbers: schemes, calibration, fake-quantized evaluation, sensitivity. May use torch; knows no supernet."""
