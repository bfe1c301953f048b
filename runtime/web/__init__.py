"""What a web bundle carries (JavaScript), and a server for it."""
