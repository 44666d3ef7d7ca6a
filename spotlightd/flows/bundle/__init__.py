"""Rows and the bytes that they lead back to, from one instance to another in one file.

choose   which loads hold rows of the days that were asked for, and the fingerprint of what each brought
pack     writes them: documents as they are, frames as they came, rows for whoever has no spotlightd
bring    imports documents: this instance's own parser reads the bytes again, and must find the same rows
receive  imports frames of streams: this instance's own decode reads them again, and must find the same rows
"""
