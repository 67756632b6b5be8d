"""What moves by itself."""
