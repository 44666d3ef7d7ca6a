"""What reads an archived file: the process that is kept, the copy of it that reads, and the hash of each row."""
