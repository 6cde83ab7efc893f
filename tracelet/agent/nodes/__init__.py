"""Between nodes that share no file system: how they meet, and how journals travel."""
