"""The relatives of squeeze-and-excitation: other ways to weigh maps by what they show."""
