"""Backup and restore of a state folder.

A backup is objects in a bucket or folder, and one manifest that lists them. Objects are named by their content, so a
later backup writes only what is new, and nothing is ever replaced. The manifest is written last: without it there is no
backup, and what an interrupted one wrote is used by the next.
"""
