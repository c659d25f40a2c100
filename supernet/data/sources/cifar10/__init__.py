"""CIFAR-10: 60,000 images of 32x32 pixels in 10 classes."""
