"""Who asks, and what they may: keys, sessions, the checks at the door, and the guard of every route."""
