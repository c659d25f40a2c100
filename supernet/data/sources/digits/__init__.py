"""scikit-learn's handwritten digits."""
