"""What pages are made of: rows, versions, lines and frames as they read and show them. No module here is a page."""
