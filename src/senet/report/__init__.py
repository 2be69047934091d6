"""Results as JSON, terminal tables and one self-contained HTML page."""
