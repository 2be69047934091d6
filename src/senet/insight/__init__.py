"""What a network costs and what a comparison found."""
