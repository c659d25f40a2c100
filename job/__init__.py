"""What a client asks for: parts, recipes, versions. No torch."""
