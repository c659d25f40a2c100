"""Android and microcontrollers."""
