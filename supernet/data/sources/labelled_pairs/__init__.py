"""Images with texts and a class of both."""
