"""What a file says about itself, and which base model it belongs to."""
