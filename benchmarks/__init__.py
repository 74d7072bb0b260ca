"""What the project claims about speed and memory, measured again by one command."""
